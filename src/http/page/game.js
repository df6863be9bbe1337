// The playable page: it signs in, resumes an open round or waits for a bet, and turns the player's moves into questions
// to the server and the answers into what is seen on the road. The server alone decides; while an answer is out, no
// other move can be made, and what is shown as standing is computed exactly as the server does, in minor units.

import { LostAnswer, Problem, call, cameFrom, isSignedIn, pause, signIn, signOut } from "./api.js";
import { Controls } from "./controls.js";
import { loadDrawings } from "./elements.js";
import { noteBet } from "./evidence.js";
import { HazardFeed } from "./hazards.js";
import { checkInHistory, refreshHistory } from "./history.js";
import { showLaunchCard, launchParameters } from "./launch.js";
import { formatAmount, lastPlayableLane, parseAmount, readableAmount, winnings } from "./money.js";
import { announce, notice, noticeFailure } from "./notices.js";
import { hideResult, showResult } from "./result.js";
import { Road } from "./road.js";
import { askAboutBet, bet, betIntent, cashOut, forgetUnansweredBet, openRound, placeBet, takeStep, unansweredBet } from "./round.js";
import { expectedCommitment, holdSeeds, isFirstSending, refreshSeeds, renewUserSeed, startSeeds, userSeed } from "./seeds.js";
import { PUBLISHED_CONFIGURATION } from "./verify.js";

// The end of a round is shown at once; its settlement with the casino is asked for a few times, and then left alone.
const SETTLEMENT_QUESTIONS_AFTER_MS = [250, 600, 1_200, 2_500, 5_000, 8_000];

const view = {
  balance: document.querySelector("#balance"),
  epoch: document.querySelector("#epoch"),
  countdown: document.querySelector("#countdown"),
  countdownText: document.querySelector("#countdown-text"),
  bound: document.querySelector("#bound-epoch"),
  goal: document.querySelector("#goal"),
  result: document.querySelector("#result"),
};

let configuration = null;
let round = null;
let visible = [];

const road = new Road(document.querySelector("#road"), () => step());
const controls = new Controls({ onPlay: play, onStep: step, onCashOut: takeWinnings, onChange: drawIdleRoad });
const feed = new HazardFeed(showEpoch, showCountdown);

// ---- beginning ----

async function start() {
  startSeeds();
  const launch = launchParameters();
  if (launch) {
    if (!cameFrom(launch)) {
      signOut();
      forgetUnansweredBet();
      await signIn(launch);
    }
    history.replaceState(null, "", location.pathname);
  }
  if (!isSignedIn()) return showDemonstration();

  configuration = await call("GET", "/api/game/config");
  controls.show(configuration);
  drawIdleRoad();
  const open = await openRound();
  if (open && !open.isFinished) {
    resume(open);
    controls.isBusy = false;
    return refresh(refreshBalance, refreshHistory);
  }
  await refresh(refreshSeeds, refreshBalance, refreshHistory);
  if (unansweredBet()) controls.askAgain();
  return controls.rest();
}

// Without a session there is still the public road to look at, behind a card that says how the game is opened.
function showDemonstration(failure) {
  if (failure?.status === 401) signOut();
  showLaunchCard(failure);
  const { coefficients } = PUBLISHED_CONFIGURATION.difficulties.EASY;
  road.draw(coefficients, coefficients.length - 1);
  feed.follow("EASY", coefficients.length);
}

function resume(open) {
  round = open;
  controls.choose(round.difficulty, round.betAmount);
  drawRoad(round.difficulty, round.maxLane);
  road.begin(round.lineNumber);
  holdRound();
  notice("info", "Your round goes on", round.lineNumber < 0 ? "You have not stepped yet." : `You stand on lane ${round.lineNumber + 1}.`);
}

// ---- the road and its epoch ----

function drawIdleRoad() {
  if (round) return;
  hideResult();
  const { coefficients } = configuration.difficulties[controls.difficulty];
  const stake = parseAmount(controls.stake, configuration.decimalPlaces);
  const largestWin = parseAmount(configuration.maxWinAmount, configuration.decimalPlaces);
  drawRoad(controls.difficulty, stake === null ? coefficients.length - 1 : lastPlayableLane(stake, coefficients, largestWin));
  road.clear();
}

function drawRoad(difficulty, maxLane) {
  const { coefficients } = configuration.difficulties[difficulty];
  road.draw(coefficients, maxLane);
  road.showHazards(visible);
  view.goal.hidden = maxLane === coefficients.length - 1;
  view.goal.textContent = `maximum win on lane ${maxLane + 1}: it cashes out there`;
  feed.follow(difficulty, coefficients.length);
}

function showEpoch(record, isProven) {
  visible = record ? record.hazards : [];
  road.showHazards(visible);
  if (!record) view.epoch.textContent = "the public road is not available";
  else view.epoch.textContent = `Epoch ${record.epoch}${isProven ? " ✓" : " (does not follow its chain!)"}`;
  view.epoch.title = record ? `hazard seed ${record.hazardSeed}` : "";
}

function showCountdown(remainingMs) {
  const seconds = Math.max(0, Math.ceil(remainingMs / 1000));
  view.countdown.style.setProperty("--remaining", String(Math.max(0, Math.min(1, remainingMs / 5000))));
  view.countdownText.textContent = `${Math.min(seconds, 5)} s`;
}

// ---- a round ----

async function play() {
  const lost = unansweredBet();
  const seed = lost ? null : userSeed();
  if (!lost && seed === null) return notice("bad", "Your seed is not valid", "Change it in the panel “Seeds”, or take a fresh one.");
  await whileBusy("Placing your bet…", async () => {
    const intent = lost ?? betIntent(await betContents(seed));
    let isSentOnce = !lost && isFirstSending(seed);
    const placed = await (lost ? askAboutBet : placeBet)(intent, (failure) => {
      isSentOnce = false;
      sayRepeating(failure);
    });
    controls.askNothing();
    beginRound(placed, intent, isSentOnce);
  }, afterRefusedBet);
}

async function betContents(seed) {
  const { epoch } = await feed.current(controls.difficulty);
  return {
    betAmount: controls.stake,
    difficulty: controls.difficulty,
    currency: configuration.currency,
    hazardEpoch: epoch,
    userSeed: seed,
    hashedServerSeed: expectedCommitment(),
  };
}

function beginRound(placed, { contents }, isSentOnce) {
  const isSeedFresh = isSentOnce && placed.hazardEpoch === contents.hazardEpoch; // another epoch: the bet was sent again for it
  noteBet(placed.betId, { hashedServerSeed: contents.hashedServerSeed, userSeed: contents.userSeed, hazardEpoch: placed.hazardEpoch,
    userSeedFresh: isSeedFresh ? true : null });
  hideResult();
  renewUserSeed();
  if (placed.balance) showBalance(placed.balance);
  else refresh(refreshBalance); // a repeated answer does not carry it
  round = placed;
  drawRoad(round.difficulty, round.maxLane);
  road.begin(round.lineNumber);
  if (round.isFinished) return finish();
  holdRound();
  announce(`The round begins. The first lane pays ${coefficientAhead()} times your stake.`);
}

async function afterRefusedBet(failure) {
  if (failure instanceof LostAnswer) {
    controls.askAgain();
    return notice("bad", "We do not know yet whether your bet was placed", "Ask again: it is the same bet and cannot be taken twice.");
  }
  controls.askNothing();
  noticeFailure(failure);
  if (failure.code === "active_session_exists") {
    const open = await openRound();
    if (open) return resume(open);
  }
  return refresh(refreshSeeds, refreshBalance, refreshHistory);
}

async function step() {
  road.isWaiting = true;
  await whileBusy("", async () => accept(await takeStep(round, sayRepeating)), noticeFailure);
  road.isWaiting = false;
}

async function takeWinnings() {
  await whileBusy("Cashing out…", async () => accept(await cashOut(round, sayRepeating)), noticeFailure);
}

function accept(next) {
  const hasMoved = next.lineNumber !== round.lineNumber;
  round = next;
  if (hasMoved) road.hop(round.lineNumber);
  if (round.isFinished) return finish();
  holdRound();
  const stands = `${readableAmount(standing())} ${round.currency}`;
  announce(`Lane ${round.lineNumber + 1} is safe. ${stands} stands. The next lane pays ${coefficientAhead()} times.`);
}

// What stands on the lane where the player is, by the same rule as the server: floor(stake * coefficient).
function standing() {
  const { decimalPlaces, difficulties } = configuration;
  const stake = parseAmount(round.betAmount, decimalPlaces);
  return formatAmount(winnings(stake, difficulties[round.difficulty].coefficients[round.lineNumber]), decimalPlaces);
}

function coefficientAhead() {
  return configuration.difficulties[round.difficulty].coefficients[round.lineNumber + 1] ?? null;
}

function holdRound() {
  holdSeeds(round);
  view.bound.textContent = `round bound to epoch ${round.hazardEpoch}`;
  view.bound.hidden = false;
  controls.playing({
    standing: round.lineNumber < 0 ? null : standing(),
    currency: round.currency,
    nextLane: round.lineNumber + 2,
    nextCoefficient: coefficientAhead(),
  });
}

// ---- the end ----

function finish() {
  const ended = round;
  round = null;
  road.end(ended.endReason === "hazard" ? "hit" : ended.isWin ? "safe" : "void");
  if (ended.collisionPositions?.length) road.reveal(ended.collisionPositions);
  holdSeeds(null);
  view.bound.hidden = true;
  announce(showResult(ended, () => checkInHistory(ended.betId).catch(noticeFailure)));
  controls.rest();
  followSettlement(ended).catch(expireOr(noticeFailure));
}

async function followSettlement(ended) {
  refresh(refreshSeeds);
  for (const waitMs of SETTLEMENT_QUESTIONS_AFTER_MS) {
    await pause(waitMs);
    const record = await bet(ended.betId);
    if (waitMs === SETTLEMENT_QUESTIONS_AFTER_MS[0]) await refreshHistory();
    const isStillShown = round === null && !view.result.hidden;
    if (record.fairness.collisionColumns && isStillShown) road.reveal(record.fairness.collisionColumns);
    if (record.settlement !== "pending") break;
  }
  await refresh(refreshBalance, refreshHistory);
}

// ---- around it ----

// Each part of the page is brought up to date on its own: a casino that does not tell the balance must not stop a round.
function refresh(...parts) {
  return Promise.all(parts.map((part) => part().catch(expireOr(noticeFailure))));
}

async function refreshBalance() {
  const { balance } = await call("GET", "/api/game/balance");
  showBalance(balance);
}

function showBalance(balance) {
  view.balance.textContent = `${readableAmount(balance)} ${configuration.currency}`;
}

function sayRepeating(failure) {
  controls.busyText = failure instanceof Problem ? "The server is busy, asking again…" : "No answer yet, asking again…";
}

async function whileBusy(text, work, onFailure) {
  if (controls.isBusy) return;
  controls.isBusy = true;
  controls.busyText = text;
  try {
    await work();
  } catch (failure) {
    await expireOr(onFailure)(failure);
  } finally {
    controls.isBusy = false;
  }
}

// A session that has ended sends the player back to the casino, whatever was being asked.
function expireOr(otherwise) {
  return (failure) => (failure.status === 401 ? showDemonstration(failure) : otherwise(failure));
}

loadDrawings().catch(noticeFailure);
start().catch(expireOr((failure) => {
  if (!configuration) showDemonstration(failure);
  noticeFailure(failure);
}));
