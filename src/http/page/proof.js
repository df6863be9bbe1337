// A past round, checked claim by claim. The rules are in verify.js; here they become a list of named checks, in the
// order in which a doubtful player would ask, so that the first one that is not ok says what is wrong. A check whose
// material is missing is neither: its `ok` is null and its detail says what would be needed.

import { formatAmount, hundredths, parseAmount, winnings } from "./money.js";
import { PUBLISHED_CONFIGURATION, anchorOf, configurationHash, paytableOf, placeOfEpoch, road } from "./verify.js";

/** What a pasted JSON claims: a bet as the history returns it, or the flat fields of a verification request. */
export function claimFrom(document) {
  const fairness = document.fairness ?? document;
  return {
    serverSeed: fairness.serverSeed ?? "",
    hashedServerSeed: fairness.hashedServerSeed ?? "",
    userSeed: fairness.userSeed ?? "",
    nonce: fairness.nonce === undefined || fairness.nonce === null ? "" : String(fairness.nonce),
    hazardSeed: fairness.hazardSeed ?? "",
    hazardEpoch: fairness.hazardEpoch ?? null,
    anchor: fairness.anchor ?? "",
    difficulty: document.difficulty ?? fairness.difficulty ?? "",
    collisionColumns: fairness.collisionColumns ?? null,
    configVersion: document.configVersion ?? null,
    configHash: document.configHash ?? "",
    outcome: document.endReason ? document : null,
  };
}

// The part of a configuration document that decides roads; throws when the document is of another shape.
function configurationFrom(bytes) {
  const { rtp, difficulties } = JSON.parse(new TextDecoder().decode(bytes));
  const configuration = { rtp, difficulties };
  for (const difficulty of Object.keys(difficulties)) paytableOf(configuration, difficulty).coefficients.forEach(hundredths);
  return configuration;
}

/**
 * Checks a claim. `evidence` holds what else is known: `configurationBytes` (the stored document of the round's
 * version), `publishedDay` (the day's chain record) and `witness` (what this browser noted before the bet).
 * A round is valid when nothing contradicts it and its seed was committed to. Returns { valid, firstMismatch,
 * checks: [{ name, ok, detail }], road, lanes }, `road` being null when it cannot be computed.
 */
export function checkRound(claim, evidence = {}) {
  const checks = [];
  const add = (name, ok, detail) => checks.push({ name, ok, detail });

  const configuration = checkConfiguration(claim, evidence.configurationBytes ?? null, add);
  let computed = null;
  try {
    computed = road(claim, configuration);
  } catch (malformed) {
    if (!(malformed instanceof RangeError)) throw malformed;
    add("Fields", false, malformed.message);
  }
  if (computed) {
    checkCommitment(claim, computed, add);
    checkWitness(claim, evidence.witness, add);
    checkColumns(claim, computed, add);
    checkAnchor(claim, evidence.publishedDay, add);
    checkOutcome(claim, computed, configuration, add);
  }
  const firstMismatch = checks.find((check) => check.ok === false) ?? null;
  const lanes = computed ? paytableOf(configuration, claim.difficulty).coefficients.length : 0;
  const isCommitted = checks.some(({ name, ok }) => name === "Commitment" && ok);
  return { valid: firstMismatch === null && isCommitted, firstMismatch, checks, road: computed, lanes };
}

function checkConfiguration(claim, bytes, add) {
  const name = "Configuration";
  if (!bytes) {
    add(name, null, "the document of this round's version was not at hand; the published paytable was used");
    return PUBLISHED_CONFIGURATION;
  }
  const hash = configurationHash(bytes);
  if (claim.configHash) add(name, hash === claim.configHash, `SHA-256 of version ${claim.configVersion}: ${hash}`);
  else add(name, null, "the round names no configHash to compare with");
  try {
    return configurationFrom(bytes);
  } catch {
    add("Paytable", null, "this page cannot read that document; its own paytable was used");
    return PUBLISHED_CONFIGURATION;
  }
}

function checkCommitment(claim, computed, add) {
  const name = "Commitment";
  if (!claim.hashedServerSeed) return add(name, null, `no hashedServerSeed given; SHA-256(serverSeed) is ${computed.hashedServerSeed}`);
  add(name, computed.hashedServerSeed === claim.hashedServerSeed, `SHA-256(serverSeed) = ${computed.hashedServerSeed}`);
}

function checkWitness(claim, witness, add) {
  if (!witness) return;
  const changed = ["hashedServerSeed", "userSeed", "hazardEpoch"].find((field) => String(witness[field]) !== String(claim[field]));
  add("Noted before the bet", !changed, changed
    ? `this browser noted another ${changed}: ${witness[changed]}`
    : "commitment, user seed and epoch are the ones that this browser noted before the bet");
}

function checkColumns(claim, computed, add) {
  const name = "Hazard lanes";
  const columns = columnList(computed.collisionColumns);
  if (!Array.isArray(claim.collisionColumns)) return add(name, null, `none given to compare with; the seeds give ${columns}`);
  const same = claim.collisionColumns.join() === computed.collisionColumns.join();
  add(name, same, same ? `the seeds give ${columns}` : `the seeds give ${columns}, the record says ${columnList(claim.collisionColumns)}`);
}

function checkAnchor(claim, publishedDay, add) {
  const name = "Hazard chain";
  if (!claim.anchor || claim.hazardEpoch === null || !Number.isSafeInteger(Number(claim.hazardEpoch))) {
    return add(name, null, "needs the epoch and the day's anchor");
  }
  const { indexInDay, date } = placeOfEpoch(Number(claim.hazardEpoch));
  const anchor = anchorOf(claim.hazardSeed, indexInDay);
  add(name, anchor === claim.anchor, `link ${indexInDay} of ${date} leads to anchor ${anchor}`);
  if (!publishedDay) return add("Published anchor", null, `compare with /api/hazards/chain/${date}`);
  const late = publishedDay.publishedAt >= `${date}T`;
  add("Published anchor", publishedDay.anchor === claim.anchor,
    `published ${publishedDay.publishedAt}${late ? " (late: after its day had begun)" : ", before its day began"}`);
}

// The end of a round follows from its road: a hazard ends it on the first hazard lane, and every payment is for a lane
// before that, at that lane's coefficient, rounded down.
function checkOutcome(claim, computed, configuration, add) {
  const { outcome } = claim;
  if (!outcome) return;
  const { endReason, lastLane, betAmount, winAmount } = outcome;
  const firstHazard = computed.collisionColumns[0] ?? Infinity;
  if (endReason === "hazard") {
    const ok = lastLane === firstHazard && /^0(\.0*)?$/.test(String(winAmount));
    const first = columnList(computed.collisionColumns.slice(0, 1));
    return add("Outcome", ok, `ended on column ${lastLane}; the first hazard of these seeds is on ${first}`);
  }
  if (!["win", "cashout", "deadline"].includes(endReason)) return add("Outcome", null, `"${endReason}": no lane was paid`);

  const coefficient = paytableOf(configuration, claim.difficulty).coefficients[lastLane];
  const paid = coefficient === undefined ? null : payoutText(betAmount, coefficient);
  const ok = paid !== null && lastLane < firstHazard && hundredths(outcome.coeff) === hundredths(coefficient) && winAmount === paid;
  add("Outcome", ok, `column ${lastLane} pays floor(${betAmount} × ${coefficient}) = ${paid}; the record says ${winAmount}`);
}

function payoutText(betAmount, coefficient) {
  const decimalPlaces = (String(betAmount).split(".")[1] ?? "").length;
  return formatAmount(winnings(parseAmount(betAmount, decimalPlaces), coefficient), decimalPlaces);
}

// Columns are numbered from 0 here, as in the record that the player compares with.
function columnList(columns) {
  if (columns.length === 0) return "no column";
  return `column${columns.length > 1 ? "s" : ""} ${columns.join(", ")}`;
}
