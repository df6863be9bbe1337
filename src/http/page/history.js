// The player's past rounds. Each row opens into the record of that round, seeds included, and can be checked on the
// spot: the check runs in this browser, from the revealed seeds alone.

import { call } from "./api.js";
import { button, element } from "./elements.js";
import { gatherEvidence } from "./evidence.js";
import { readableAmount } from "./money.js";
import { noticeFailure } from "./notices.js";
import { claimFrom } from "./claim.js";
import { checkRound } from "./proof.js";
import { proofView } from "./proof-view.js";
import { bet } from "./round.js";

const PAGE_SIZE = 12;
const DIFFICULTY_NAMES = { EASY: "Easy", MEDIUM: "Medium", HARD: "Hard", DAREDEVIL: "Daredevil" };
const ENDS = {
  win: { text: "Last lane", tone: "good" },
  cashout: { text: "Cashed out", tone: "good" },
  deadline: { text: "Paid at the deadline", tone: "good" },
  hazard: { text: "Hit", tone: "bad" },
  void: { text: "Voided", tone: "calm" },
  cancelled: { text: "Cancelled", tone: "calm" },
  refused: { text: "Refused", tone: "calm" },
};

const list = document.querySelector("#history-list");
const more = document.querySelector("#history-more");
const empty = document.querySelector("#history-empty");
let cursor = null;

/** Shows the newest rounds; rows that the player has unfolded stay as they are. */
export async function refreshHistory() {
  const page = await call("GET", `/api/game/bets?limit=${PAGE_SIZE}`);
  const unfolded = [...list.children].filter((row) => row.open && row.dataset.isFinal);
  const kept = new Map(unfolded.map((row) => [row.dataset.id, row]));
  list.replaceChildren(...page.bets.map((record) => kept.get(record.id) ?? rowOf(record)));
  continueFrom(page.next);
  empty.hidden = page.bets.length > 0;
}

more.addEventListener("click", () => showMore().catch(noticeFailure));

async function showMore() {
  more.disabled = true;
  try {
    const page = await call("GET", `/api/game/bets?limit=${PAGE_SIZE}&before=${encodeURIComponent(cursor)}`);
    list.append(...page.bets.map(rowOf));
    continueFrom(page.next);
  } finally {
    more.disabled = false;
  }
}

function continueFrom(next) {
  cursor = next;
  more.hidden = next === null;
}

/** Unfolds a round and checks it. */
export async function checkInHistory(betId) {
  await refreshHistory();
  const row = [...list.children].find((candidate) => candidate.dataset.id === betId);
  if (!row) return;
  row.open = true;
  await unfold(row);
  row.scrollIntoView({ block: "start", behavior: "smooth" });
  row.querySelector(".check-button")?.click();
}

function rowOf(record) {
  const end = ENDS[record.endReason] ?? { text: "Open", tone: "calm" };
  const summary = element("summary", "history-row",
    element("span", `outcome outcome-${end.tone}`, end.text),
    element("span", "history-what", `${DIFFICULTY_NAMES[record.difficulty] ?? record.difficulty}`, laneOf(record)),
    element("span", "history-money", element("span", "history-win", winText(record, end)),
      element("span", "history-stake", `of ${readableAmount(record.betAmount)} ${record.currency}`)),
    element("time", "history-time", timeText(record.createdAt)));
  const row = element("details", "history-item", summary, element("div", "history-details", element("p", "fine", "Loading…")));
  row.dataset.id = record.id;
  if (record.settlement === "settled") row.dataset.isFinal = "yes";
  row.addEventListener("toggle", () => { if (row.open) unfold(row).catch(noticeFailure); });
  return row;
}

function laneOf(record) {
  if (record.lastLane < 0) return element("span", "history-lane", "not stepped");
  const coefficient = record.endReason === "hazard" ? "" : ` · ${record.coeff}×`;
  return element("span", "history-lane", `lane ${record.lastLane + 1}${coefficient}`);
}

function winText(record, end) {
  if (end.tone === "good") return `+${readableAmount(record.winAmount)}`;
  if (end.tone === "bad") return `−${readableAmount(record.betAmount)}`;
  return { void: "returned", cancelled: "returned", refused: "not taken" }[record.endReason] ?? "";
}

function timeText(text) {
  return new Date(text).toLocaleString(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
}

async function unfold(row) {
  if (row.dataset.loaded) return;
  row.dataset.loaded = "yes";
  const details = row.querySelector(".history-details");
  try {
    details.replaceChildren(...detailsOf(await bet(row.dataset.id)));
  } catch (failure) {
    delete row.dataset.loaded;
    row.open = false;
    throw failure;
  }
}

function detailsOf(record) {
  const { fairness } = record;
  const facts = element("dl", "facts");
  const fact = (name, value) => facts.append(element("dt", "", name), element("dd", "hash", String(value ?? "—")));
  fact("Round", record.roundId);
  fact("Settlement", record.settlement);
  fact("Commitment", fairness.hashedServerSeed);
  fact("Server seed", fairness.serverSeed ?? "revealed when the round has ended");
  fact("Your seed", `${fairness.userSeed}${fairness.userSeedFresh ? "" : " (not fresh)"}`);
  fact("Nonce", fairness.nonce);
  fact("Hazard epoch", fairness.hazardEpoch);
  fact("Hazard seed", fairness.hazardSeed);
  fact("Day's anchor", fairness.anchor);
  fact("Hazard columns", fairness.collisionColumns === null ? null : `${fairness.collisionColumns.join(", ") || "none"} (counted from 0)`);
  fact("Configuration", `version ${record.configVersion}, SHA-256 ${record.configHash}`);
  return fairness.serverSeed ? [facts, checkPart(record)] : [facts];
}

function checkPart(record) {
  const result = element("div", "check-result");
  result.setAttribute("aria-live", "polite");
  const check = button("button button-small check-button", "Check this round", () => showCheck(record, result).catch(noticeFailure));
  const link = element("a", "button button-small button-quiet", "Open in the verifier");
  link.href = `/verify#${encodeURIComponent(JSON.stringify(record))}`;
  return element("div", "check-part", element("div", "check-actions", check, link), result);
}

async function showCheck(record, result) {
  const claim = claimFrom(record);
  const evidence = await gatherEvidence(claim, claim.record.id);
  const checked = checkRound(claim, evidence);
  result.replaceChildren(proofView(checked, claim, checked.lanes));
}
