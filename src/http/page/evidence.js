// What a check of a past round can be held against: the stored configuration document of its version, the day's
// published anchor, and what this very browser noted of the bet when it was placed. This site is asked for the configuration by
// its version and for the anchor by its day, and is told nothing else of the round. The notes stay on the player's device; they are
// what makes the check independent, because the server cannot change them afterwards.

import { LostAnswer, Problem, bytesOf, call } from "./api.js";
import { isEpoch, placeOfEpoch } from "./verify.js";

const NOTES_KEY = "faircross.notedBeforeBet";
const MOST_NOTES = 200;
const CHAIN_PATIENCE_MS = 2_000;

/**
 * Notes what a bet was promised: commitment, user seed and epoch, as they were when it was placed. `userSeedFresh` is true where the
 * page made the seed and sent it but once, and null where it does not know.
 */
export function noteBet(betId, promised) {
  const notes = Object.entries({ ...readNotes(), [betId]: promised });
  try {
    localStorage.setItem(NOTES_KEY, JSON.stringify(Object.fromEntries(notes.slice(-MOST_NOTES))));
  } catch {
    // Private windows may have no storage; the check then says nothing about notes.
  }
}

function readNotes() {
  try {
    return JSON.parse(localStorage.getItem(NOTES_KEY)) ?? {};
  } catch {
    return {};
  }
}

/** Gathers evidence for a claim; what cannot be had is left out, and the check says so. That nothing was published is evidence too. */
export async function gatherEvidence(claim, betId) {
  const [configurationBytes, publishedDay] = await Promise.all([
    !Number.isInteger(claim.configVersion) ? null : ifAvailable(bytesOf(`/api/fairness/config/${encodeURIComponent(claim.configVersion)}`)),
    !isEpoch(claim.hazardEpoch) ? null : ifAvailable(dayOf(Number(claim.hazardEpoch)).catch(neverPublished)),
  ]);
  const notes = readNotes();
  const isNoted = typeof betId === "string" && Object.hasOwn(notes, betId);
  return { configurationBytes, publishedDay, witness: isNoted ? notes[betId] : null };
}

function dayOf(epoch) {
  return call("GET", `/api/hazards/chain/${placeOfEpoch(epoch).date}`, { patienceMs: CHAIN_PATIENCE_MS });
}

function neverPublished(failure) {
  if (failure instanceof Problem && failure.status === 404) return { anchor: null };
  throw failure;
}

async function ifAvailable(answer) {
  try {
    return await answer;
  } catch (failure) {
    if (failure instanceof Problem || failure instanceof LostAnswer) return null;
    throw failure;
  }
}
