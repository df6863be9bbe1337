// Checks the browser's verifier against the published vectors: `node tests/verifier.mjs`. Thresholds, rounds, public
// roads and chain links must all come out as an independent implementation computed them; exits 1 on a mismatch and
// says which vector it was. It needs node alone, no package.

import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { chacha20Block, hex, hmacSha256, sha256Text } from "../src/http/page/hash.js";
import { claimFrom, claimOfForm, readDocument, shownText } from "../src/http/page/claim.js";
import { checkRound } from "../src/http/page/proof.js";
import { EPOCHS_PER_DAY, PUBLISHED_CONFIGURATION, PUBLISHED_CONFIGURATION_HASH, anchorOf, paytableOf, road, thresholds, visibleHazards } from "../src/http/page/verify.js";

const vectors = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url), "utf8"));

function checkPrimitives() {
  // Lengths around the padding's edges (55, 56, 63, 64 bytes) are where a hand-written hash goes wrong.
  for (let length = 0; length <= 200; length += 1) {
    const text = "x".repeat(length);
    assert.equal(sha256Text(text), createHash("sha256").update(text).digest("hex"), `SHA-256 of ${length} bytes`);
    const expected = createHmac("sha256", text).update("message").digest("hex");
    assert.equal(hex(hmacSha256(text, "message")), expected, `HMAC, key of ${length} bytes`);
  }
  const zeroBlock = hex(chacha20Block(new Uint8Array(32), 0n));
  assert.ok(zeroBlock.startsWith("76b8e0ada0f13d90405d6ae55386bd28"), "ChaCha20, RFC 8439 appendix A.1");
}

function checkThresholds() {
  assert.equal(vectors.rtp, PUBLISHED_CONFIGURATION.rtp, "RTP");
  assert.deepEqual(Object.keys(vectors.thresholds), Object.keys(PUBLISHED_CONFIGURATION.difficulties), "difficulties");
  for (const [difficulty, expected] of Object.entries(vectors.thresholds)) {
    const { coefficients } = PUBLISHED_CONFIGURATION.difficulties[difficulty];
    assert.deepEqual(thresholds(coefficients, vectors.rtp).map(String), expected, `thresholds of ${difficulty}`);
  }
}

// Three columns with one hazard, by hand: 1/3 and then 1/2 of the columns that are left are hazards.
function checkColumnsLaw() {
  const configuration = { rtp: "0.95", difficulties: { EASY: { survivalLaw: "columns_without_replacement", columns: 3, hazards: 1 } } };
  const expected = { coefficients: ["1.42", "2.85"], thresholds: [6148914691236517205n, 9223372036854775808n] };
  assert.deepEqual(paytableOf(configuration, "EASY"), expected, "columns without replacement");
}

// The document of the published configuration, as the server stores it, and a day whose chain we made.
const configurationBytes = new Uint8Array(readFileSync(new URL("../config/game.json", import.meta.url)));
const configHash = createHash("sha256").update(configurationBytes).digest("hex");
const { hazardSeed: link, index: linkIndex, anchor } = vectors.chain.find(({ index }) => index > 0);
const HAZARD_EPOCH = 20_000 * EPOCHS_PER_DAY + linkIndex;
const publishedDay = { anchor, publishedAt: "2024-10-03T00:00:00Z" };

// A record with a lane to cash out on, as the history returns it.
function soundRecord() {
  for (let nonce = 0; ; nonce += 1) {
    const seeds = { serverSeed: vectors.rounds[1].serverSeed, userSeed: "mine", nonce, hazardSeed: link, difficulty: "MEDIUM" };
    const { hashedServerSeed, collisionColumns } = road(seeds);
    if (collisionColumns[0] < 2 || collisionColumns[0] > 5) continue;
    const { difficulty, ...fairness } = seeds;
    return {
      id: "1", roundId: "1", createdAt: "2024-10-04T10:00:00Z", settledAt: "2024-10-04T10:00:01.5Z", status: "WON", settlement: "settled", difficulty, betAmount: "10.00",
      currency: "INR", winAmount: "10.80", coeff: "1.08", endReason: "cashout", lastLane: 0, configVersion: 1, configHash,
      fairness: { ...fairness, userSeedFresh: true, hazardEpoch: HAZARD_EPOCH, anchor, hashedServerSeed, collisionColumns },
    };
  }
}

const bet = soundRecord();
// What the browser noted when it placed the bet, with a seed that it made and sent but once.
const { hashedServerSeed: notedCommitment, userSeed: notedSeed, hazardEpoch: notedEpoch } = bet.fairness;
const witness = { hashedServerSeed: notedCommitment, userSeed: notedSeed, hazardEpoch: notedEpoch, userSeedFresh: true };
const evidence = { configurationBytes, publishedDay, witness };
const check = (changed, known = evidence) => checkRound(claimFrom({ ...bet, ...changed }), known);
const fairness = (changed) => ({ fairness: { ...bet.fairness, ...changed } });
const unchecked = (checked) => checked.unchecked.map(({ name }) => name);
const end = ["end_follows_from_road", "coefficient_matches", "payout_matches"];
const resting = ["collision_columns_match", "stake_is_allowed", ...end];

// A sound record is valid; with any one thing changed it is invalid by the name of that thing; with one thing less it is
// incomplete, and what is missing is named. The names are the server's.
function checkProofs() {
  assert.equal(configHash, PUBLISHED_CONFIGURATION_HASH, "the hash of the published configuration");
  const firstHazard = bet.fairness.collisionColumns[0];
  const sound = check({});
  assert.deepEqual([sound.verdict, sound.valid, sound.unchecked], ["valid", true, []], "a sound record");
  const hit = check({ status: "LOST", endReason: "hazard", lastLane: firstHazard, coeff: "0.00", winAmount: "0.00" });
  assert.equal(hit.verdict, "valid", "a hazard");

  const zeros = "0".repeat(64);
  const invented = { serverSeed: zeros, hazardSeed: zeros, hazardEpoch: 0,
    anchor: "60e05bd1b195af2f94112fa7197a5c88289058840ce7c6df9693756bc6250f55",
    hashedServerSeed: "60e05bd1b195af2f94112fa7197a5c88289058840ce7c6df9693756bc6250f55" };
  const wrong = [
    ["another seed", "server_seed_matches_commitment", fairness({ serverSeed: vectors.rounds[0].serverSeed })],
    ["another user seed", "collision_columns_match", fairness({ userSeed: "another" }), { configurationBytes, publishedDay }],
    ["another user seed than noted", "as_noted_before_the_bet", fairness({ userSeed: "another" })],
    ["other columns", "collision_columns_match", fairness({ collisionColumns: [0] })],
    ["another configuration", "configuration_matches_hash", { configHash: zeros }],
    ["an invented anchor", "hazard_seed_belongs_to_anchor", fairness({ anchor: zeros })],
    ["another epoch", "hazard_seed_belongs_to_anchor", fairness({ hazardEpoch: HAZARD_EPOCH + 1 }), { configurationBytes, publishedDay }],
    ["another freshness than noted", "user_seed_fresh_as_recorded", fairness({ userSeedFresh: false })],
    ["another status", "status_follows_from_end", { status: "LOST" }],
    ["a status before the end", "status_follows_from_end", { status: "PLACED", settlement: null, settledAt: null }],
    ["a settlement that is none yet", "settlement_follows_from_status", { settlement: "pending" }],
    ["settled before it was", "settlement_follows_from_status", { status: "PENDING_SETTLEMENT", settlement: "pending" }],
    ["a status that is none", "inputs_are_well_formed", { status: "Won" }],
    ["a settlement that is none", "inputs_are_well_formed", { settlement: true }],
    ["a time that is none", "inputs_are_well_formed", { settledAt: "yesterday" }],
    ["an id that is a list", "inputs_are_well_formed", { id: ["1"] }],
    ["a nonce of -0", "inputs_are_well_formed", fairness({ nonce: -0 })],
    ["an epoch of -0", "inputs_are_well_formed", fairness({ hazardEpoch: -0 })],
    ["a lane of -0", "inputs_are_well_formed", { lastLane: -0 }],
    ["a column of -0", "inputs_are_well_formed", fairness({ collisionColumns: [-0] })],
    ["a lane that no record can have", "inputs_are_well_formed", { lastLane: 40_000, endReason: null, coeff: null, winAmount: null }],
    ["an amount that is none", "inputs_are_well_formed", { winAmount: "1e3" }],
    ["a void beyond the road, without its stake", "end_follows_from_road",
      { status: "VOIDED", endReason: "void", lastLane: 40, betAmount: null, coeff: "0.00", winAmount: "0.00" }],
    ["a nonce in another spelling", "inputs_are_well_formed", fairness({ nonce: "007" })],
    ["a user seed that is a number", "inputs_are_well_formed", fairness({ userSeed: 100 })],
    ["an unknown field", "inputs_are_well_formed", { roundKey: "ab" }],
    ["a field in both places", "inputs_are_well_formed", { nonce: bet.fairness.nonce }],
    ["a column that is no lane", "inputs_are_well_formed", fairness({ collisionColumns: [1.5] })],
    ["a stake below the minimum", "stake_is_allowed", { betAmount: "0.10" }],
    ["another currency", "stake_is_allowed", { currency: "XXX" }],
    ["a lane behind the hazard", "end_follows_from_road", { lastLane: firstHazard + 1, coeff: "2.05", winAmount: "20.50" }],
    ["an unknown end", "inputs_are_well_formed", { endReason: "WIN" }],
    ["a hazard elsewhere", "end_follows_from_road", { status: "LOST", endReason: "hazard", lastLane: firstHazard + 1 }],
    ["another coefficient", "coefficient_matches", { coeff: "1.21" }],
    ["a minor unit more", "payout_matches", { winAmount: "10.81" }],
  ];
  for (const [what, name, changed, known] of wrong) {
    const checked = check(changed, known ?? evidence);
    assert.deepEqual([checked.verdict, checked.valid, checked.firstMismatch?.name], ["invalid", false, name], what);
  }
  const made = check(fairness(invented), { configurationBytes, publishedDay: { anchor: null } });
  assert.equal(made.verdict, "invalid", "an invented chain");
  assert.ok(made.checks.some(({ name, ok }) => name === "anchor_is_the_published_one" && !ok), "nobody published it");

  const missing = [
    ["no commitment", ["server_seed_matches_commitment", "as_noted_before_the_bet"], fairness({ hashedServerSeed: null })],
    ["no columns", ["collision_columns_match"], fairness({ collisionColumns: null })],
    ["an anchor without an epoch", ["as_noted_before_the_bet", "anchor_is_the_published_one"], fairness({ hazardEpoch: null })],
    ["nothing known of the day", ["anchor_is_the_published_one"], {}, { configurationBytes, witness }],
    ["a note without a user seed", ["as_noted_before_the_bet"], {}, { ...evidence, witness: { ...witness, userSeed: undefined } }],
    ["no note", ["user_seed_fresh_as_recorded"], {}, { configurationBytes, publishedDay }],
    ["a note that says nothing of the seed", ["user_seed_fresh_as_recorded"], {}, { ...evidence, witness: { ...witness, userSeedFresh: null } }],
    ["no document", ["configuration_matches_hash"], {}, { publishedDay, witness }],
    ["no version", ["configuration_matches_hash"], { configVersion: null }, { publishedDay, witness }],
    ["no stake", ["stake_is_allowed", ...end], { betAmount: null }],
    ["no lane", end, { lastLane: null }],
    ["no payment", ["payout_matches"], { winAmount: null }],
  ];
  for (const [what, names, changed, known] of missing) {
    const checked = check(changed, known ?? evidence);
    assert.deepEqual([checked.verdict, checked.valid, unchecked(checked)], ["incomplete", false, names], what);
  }
  const { fairness: stated, id, roundId, createdAt, settledAt, status, settlement, ...rest } = bet;
  assert.equal(checkRound(claimFrom({ ...rest, ...stated }), { configurationBytes, publishedDay }).verdict, "incomplete", "freshness that no record tells");
  assert.equal(checkRound(claimFrom({ ...rest, ...stated, status }), evidence).verdict, "invalid", "a status that is not a claim's");
  assert.equal(checkRound(claimFrom({ ...rest, ...stated, userSeedFresh: undefined }), evidence).verdict, "valid", "the flat fields");
}

// A right round under another paytable than the published one. Without its document nothing that rests on it is called wrong.
function checkOtherConfigurations() {
  const document = JSON.parse(new TextDecoder().decode(configurationBytes));
  document.difficulties.MEDIUM.coefficients = document.difficulties.MEDIUM.coefficients.map((text, lane) => (lane === 0 ? "1.10" : text));
  const otherBytes = new TextEncoder().encode(JSON.stringify(document));
  const otherHash = createHash("sha256").update(otherBytes).digest("hex");
  const { collisionColumns } = road({ ...bet.fairness, difficulty: bet.difficulty }, document);
  const round = { configVersion: 2, configHash: otherHash, coeff: "1.10", winAmount: "11.00", ...fairness({ collisionColumns }) };
  assert.equal(check(round, { ...evidence, configurationBytes: otherBytes }).verdict, "valid", "a round under its own paytable");
  const notDocuments = [null, new TextEncoder().encode("<html>"), new TextEncoder().encode('{"difficulties":{}}')];
  for (const bytes of notDocuments) {
    for (const changed of [round, { ...round, configVersion: null }]) {
      const checked = check(changed, { ...evidence, configurationBytes: bytes });
      assert.deepEqual([checked.verdict, unchecked(checked), checked.road.collisionColumns],
        ["incomplete", ["configuration_matches_hash", ...resting], null], "a paytable that is not at hand");
    }
    const byVersion = check({ ...round, configHash: null }, { ...evidence, configurationBytes: bytes });
    assert.deepEqual([byVersion.verdict, byVersion.road.collisionColumns], ["incomplete", null], "a version that is not at hand");
  }
  const unnamed = check({ ...round, configVersion: null, configHash: null }, { publishedDay, witness });
  assert.equal(unnamed.verdict, "invalid", "a round that names no paytable is played under the published one");
  assert.equal(check({ ...round, configHash: "0".repeat(64) }, { ...evidence, configurationBytes: otherBytes }).firstMismatch.name,
    "configuration_matches_hash", "version and hash that contradict each other");
}

// The form shows what was pasted; only what was changed there counts instead of it.
function checkForm() {
  const fields = ["serverSeed", "hashedServerSeed", "userSeed", "nonce", "hazardSeed", "difficulty", "hazardEpoch", "anchor", "collisionColumns"];
  const filled = (document) => {
    const claim = claimFrom(document);
    return Object.fromEntries(fields.map((field) => [field, shownText(claim[field])]));
  };
  const verdictOf = (document, typed = {}) => {
    const shown = filled(document);
    return checkRound(claimOfForm(document, shown, { ...shown, ...typed }), evidence);
  };
  assert.equal(verdictOf(bet).verdict, "valid", "a record as it was pasted");
  const pasted = bet.fairness.collisionColumns;
  for (const columns of [pasted.join(), pasted.length, {}, "", pasted.map(String), [pasted], [null], pasted.map((lane) => [lane])]) {
    const { verdict, firstMismatch } = verdictOf({ ...bet, ...fairness({ collisionColumns: columns }) });
    assert.deepEqual([verdict, firstMismatch?.detail], ["invalid", "collisionColumns: a list of lane numbers"], JSON.stringify(columns));
  }
  for (const field of ["serverSeed", "hashedServerSeed", "userSeed", "hazardSeed", "anchor"]) {
    const { firstMismatch } = verdictOf({ ...bet, ...fairness({ [field]: ` ${bet.fairness[field]} ` }) });
    assert.ok(firstMismatch?.detail.startsWith(`${field}:`), `${field} with spaces around`);
  }
  assert.equal(verdictOf(bet, { collisionColumns: pasted.join(" ") }).verdict, "valid", "columns that were typed");
  assert.equal(verdictOf(bet, { collisionColumns: "none" }).firstMismatch?.name, "collision_columns_match", "no column typed");
  assert.equal(verdictOf(bet, { collisionColumns: "1e0" }).firstMismatch?.name, "inputs_are_well_formed", "a column of another spelling");
  assert.deepEqual(unchecked(verdictOf(bet, { collisionColumns: "" })), ["collision_columns_match"], "columns taken away");
  assert.equal(verdictOf(bet, { userSeed: "another" }).firstMismatch?.name, "as_noted_before_the_bet", "a seed that was typed");
  // Nothing pasted: every field is what was typed, the difficulty that the form began with too.
  const typed = claimOfForm(null, {}, { ...filled(bet), difficulty: "MEDIUM" });
  const checked = checkRound(typed, { publishedDay });
  assert.deepEqual([checked.verdict, checked.road.collisionColumns], ["incomplete", pasted], "a form that was filled in by hand");
}

// What JSON.parse would read and nobody could tell from something else.
function checkReading() {
  assert.deepEqual(readDocument('{"nonce":7,"userSeed":"1e2","collisionColumns":[]}').problem, undefined);
  for (const text of ['{"nonce":1,"nonce":1}', '{"nonce":1,"\\u006eonce":1}', '{"userSeed":1e2}', '{"nonce":1.0}', '{"nonce":-0}', "[1]", "{"]) {
    assert.ok(readDocument(text).problem, text);
  }
}

function checkRounds() {
  for (const [index, expected] of vectors.rounds.entries()) {
    const { hashedServerSeed, roundKey, collisionColumns } = expected;
    assert.deepEqual(road(expected), { hashedServerSeed, roundKey, collisionColumns }, `round ${index}`);
  }
}

function checkHazards() {
  for (const [index, { hazardSeed, difficulty, hazards }] of vectors.hazards.entries()) {
    const paytable = PUBLISHED_CONFIGURATION.difficulties[difficulty];
    const drawn = visibleHazards(hazardSeed, difficulty, paytable.coefficients.length, paytable.hazards);
    assert.deepEqual(drawn, hazards, `public road ${index}`);
  }
}

function checkChain() {
  for (const [index, { hazardSeed, index: indexInDay, anchor }] of vectors.chain.entries()) {
    assert.equal(anchorOf(hazardSeed, indexInDay), anchor, `chain link ${index}`);
  }
}

try {
  checkPrimitives();
  checkThresholds();
  checkColumnsLaw();
  checkRounds();
  checkProofs();
  checkOtherConfigurations();
  checkForm();
  checkReading();
  checkHazards();
  checkChain();
} catch (mismatch) {
  console.error(mismatch.message);
  process.exit(1);
}
console.log(`${vectors.rounds.length} rounds, ${vectors.hazards.length} public roads, ${vectors.chain.length} chain links hold`);
