// The moves of a round, as the server must be asked for them. No page in here: only the order of questions, and what to
// do when an answer is lost or comes too late. A bet's intent (its key and its contents) is written down before it is
// sent, so that even a reloaded page asks about the same bet instead of placing another.

import { LostAnswer, Problem, call } from "./api.js";

const INTENT_KEY = "faircross.unansweredBet";

// These say that our picture of the round is out of date; the server's is fetched instead of guessing.
const OUT_OF_DATE = new Set(["invalid_step_sequence", "round_mismatch", "no_active_session", "too_early_to_cash_out"]);

/** Random bytes as hex: an idempotency key, or a user seed. */
export function randomHex(byteCount) {
  const bytes = crypto.getRandomValues(new Uint8Array(byteCount));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A bet whose answer was lost, if there is one. */
export function unansweredBet() {
  try {
    return JSON.parse(sessionStorage.getItem(INTENT_KEY));
  } catch {
    return null;
  }
}

/** Forgets a bet without an answer: another player may have signed in, who must not place it. */
export function forgetUnansweredBet() {
  sessionStorage.removeItem(INTENT_KEY);
}

/** A new bet's intent; `contents` is the request's body. */
export function betIntent(contents) {
  return { key: randomHex(16), contents };
}

/** Places a bet: should the road move on meanwhile, it is bound to the new epoch and sent once more, under the same key. */
export async function placeBet(intent, onRepeat) {
  sessionStorage.setItem(INTENT_KEY, JSON.stringify(intent));
  return answered(sendBet(intent, onRepeat).catch((problem) => followEpoch(problem, intent, onRepeat)));
}

/** Asks again about a bet without an answer. It keeps its old epoch: a bet that never arrived must not be placed much later. */
export function askAboutBet(intent, onRepeat) {
  return answered(sendBet(intent, onRepeat));
}

async function answered(placing) {
  try {
    const round = await placing;
    forgetUnansweredBet();
    return round;
  } catch (failure) {
    if (!(failure instanceof LostAnswer)) forgetUnansweredBet();
    throw failure;
  }
}

function sendBet({ key, contents }, onRepeat) {
  return call("POST", "/api/game/bet", { body: contents, headers: { "Idempotency-Key": key }, onRepeat });
}

async function followEpoch(problem, intent, onRepeat) {
  if (problem.code !== "stale_hazard_epoch") throw problem;
  const { epoch } = await call("GET", `/api/hazards/${intent.contents.difficulty}`);
  return sendBet({ ...intent, contents: { ...intent.contents, hazardEpoch: epoch } }, onRepeat);
}

/** Takes the next lane. */
export function takeStep(round, onRepeat) {
  return move("/api/game/step", round, round.lineNumber + 1, onRepeat);
}

/** Cashes out on the lane where the player stands. */
export function cashOut(round, onRepeat) {
  return move("/api/game/cashout", round, round.lineNumber, onRepeat);
}

async function move(path, round, lineNumber, onRepeat) {
  try {
    const body = { lineNumber, roundId: round.roundId };
    return { ...round, ...await call("POST", path, { body, onRepeat }) };
  } catch (problem) {
    if (problem instanceof Problem && OUT_OF_DATE.has(problem.code)) return currentRound(round);
    throw problem;
  }
}

/** The open round, or null. */
export async function openRound() {
  try {
    return await call("GET", "/api/game/session");
  } catch (problem) {
    if (problem.code === "no_active_session") return null;
    throw problem;
  }
}

// How a round really stands: open in the session, or ended in the record.
async function currentRound(round) {
  const open = await openRound();
  if (open && open.roundId === round.roundId) return { ...round, ...open };
  return { ...round, ...roundOfBet(await bet(round.betId)) };
}

/** One bet of the history, with its fairness details. */
export function bet(betId) {
  return call("GET", `/api/game/bets/${encodeURIComponent(betId)}`);
}

function roundOfBet(record) {
  return {
    isFinished: record.endReason !== null && record.endReason !== undefined,
    isWin: ["win", "cashout", "deadline"].includes(record.endReason),
    endReason: record.endReason,
    lineNumber: record.lastLane,
    coeff: record.coeff,
    winAmount: record.winAmount,
    settlement: record.settlement,
  };
}
