// The seeds panel. It shows the commitment that is in force (published before the bet), the one after it, and the
// player's own seed for the next bet. The page makes a new one for every bet, after the commitment was shown, which is
// what stops a server from searching for a bad server seed; a player who wants another simply types it.

import { call } from "./api.js";
import { announce, notice, noticeFailure } from "./notices.js";
import { randomHex } from "./round.js";

const USER_SEED_BYTES = 16;
const USER_SEED_PATTERN = /^[A-Za-z0-9_.-]{1,64}$/;

const panel = {
  form: document.querySelector("#seeds-form"),
  input: document.querySelector("#user-seed"),
  fresh: document.querySelector("#fresh-seed"),
  change: document.querySelector("#change-seed"),
  current: document.querySelector("#commitment"),
  currentLabel: document.querySelector("#commitment-label"),
  next: document.querySelector("#next-commitment"),
  nonce: document.querySelector("#nonce"),
};

let commitment = null;
// The seed that the page made, until it is sent.
let unsentSeed = null;

/** Prepares the panel: a fresh seed, and its two buttons. */
export function startSeeds() {
  renewUserSeed();
  panel.fresh.addEventListener("click", () => {
    renewUserSeed();
    announce("A fresh seed is ready for the next bet");
  });
  panel.form.addEventListener("submit", (event) => {
    event.preventDefault();
    changeUserSeed().catch(noticeFailure);
  });
}

/** Reads the seeds that are in force and shows them. */
export async function refreshSeeds() {
  show(await call("GET", "/api/game/seeds"));
}

/** The commitment that the next bet expects. */
export function expectedCommitment() {
  return commitment;
}

/** The player's seed for the next bet, or null when what was typed is not a seed. */
export function userSeed() {
  const seed = panel.input.value.trim();
  const isValid = USER_SEED_PATTERN.test(seed);
  panel.input.setAttribute("aria-invalid", String(!isValid));
  return isValid ? seed : null;
}

/** A new random seed: one seed, one bet. */
export function renewUserSeed() {
  unsentSeed = randomHex(USER_SEED_BYTES);
  panel.input.value = unsentSeed;
  panel.input.removeAttribute("aria-invalid");
}

/** Whether the page made this seed and has not sent it yet. It counts as sent from now on. */
export function isFirstSending(seed) {
  const isFirst = seed === unsentSeed;
  if (isFirst) unsentSeed = null;
  return isFirst;
}

/** During a round the seeds are fixed; the panel then shows what the round is bound to. */
export function holdSeeds(round) {
  const isHeld = round !== null;
  panel.currentLabel.textContent = isHeld ? "Commitment of this round" : "Commitment of the next bet";
  for (const control of [panel.input, panel.fresh, panel.change]) control.disabled = isHeld;
  if (isHeld) show({ hashedServerSeed: round.hashedServerSeed, nextHashedServerSeed: round.nextHashedServerSeed, nonce: round.nonce });
}

async function changeUserSeed() {
  const seed = userSeed();
  if (seed === null) {
    panel.input.focus();
    return notice("bad", "That is not a seed", "1 to 64 letters, digits, dots, dashes or underscores");
  }
  isFirstSending(seed);
  show(await call("PUT", "/api/game/seeds", { body: { userSeed: seed } }));
  notice("good", "Seed changed", "It counts for your next bet; after that the page makes a fresh one again.");
}

function show(seeds) {
  commitment = seeds.hashedServerSeed;
  panel.current.textContent = seeds.hashedServerSeed;
  panel.next.textContent = seeds.nextHashedServerSeed;
  panel.nonce.textContent = String(seeds.nonce);
}
