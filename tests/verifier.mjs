// Checks the browser's verifier against the published vectors: `node tests/verifier.mjs`. Thresholds, rounds, public
// roads and chain links must all come out as an independent implementation computed them; exits 1 on a mismatch and
// says which vector it was. It needs node alone, no package.

import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { chacha20Block, hex, hmacSha256, sha256Text } from "../src/http/page/hash.js";
import { checkRound, claimFrom, readDocument } from "../src/http/page/proof.js";
import { EPOCHS_PER_DAY, PUBLISHED_CONFIGURATION, anchorOf, paytableOf, road, thresholds, visibleHazards } from "../src/http/page/verify.js";

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
const evidence = { configurationBytes, publishedDay: { anchor, publishedAt: "2024-10-03T00:00:00Z" } };

// A record with a lane to cash out on, as the history returns it.
function soundRecord() {
  for (let nonce = 0; ; nonce += 1) {
    const seeds = { serverSeed: vectors.rounds[1].serverSeed, userSeed: "mine", nonce, hazardSeed: link, difficulty: "MEDIUM" };
    const { hashedServerSeed, collisionColumns } = road(seeds);
    if (collisionColumns[0] < 2 || collisionColumns[0] > 5) continue;
    const { difficulty, ...fairness } = seeds;
    return {
      id: "1", roundId: "1", createdAt: "", settledAt: null, status: "WON", settlement: "settled", difficulty, betAmount: "10.00",
      currency: "INR", winAmount: "10.80", coeff: "1.08", endReason: "cashout", lastLane: 0, configVersion: 1, configHash,
      fairness: { ...fairness, userSeedFresh: true, hazardEpoch: HAZARD_EPOCH, anchor, hashedServerSeed, collisionColumns },
    };
  }
}

// A sound record is valid; with any one thing changed it is invalid by the name of that thing; with one thing less it is
// incomplete, and what is missing is named. The names are the server's.
function checkProofs() {
  const bet = soundRecord();
  const firstHazard = bet.fairness.collisionColumns[0];
  const check = (changed, known = evidence) => checkRound(claimFrom({ ...bet, ...changed }), known);
  const fairness = (changed) => ({ fairness: { ...bet.fairness, ...changed } });
  const sound = check({});
  assert.deepEqual([sound.verdict, sound.valid, sound.unchecked], ["valid", true, []], "a sound record");
  const hit = check({ endReason: "hazard", lastLane: firstHazard, coeff: "0.00", winAmount: "0.00" });
  assert.equal(hit.verdict, "valid", "a hazard");

  const zeros = "0".repeat(64);
  const invented = { serverSeed: zeros, hazardSeed: zeros, hazardEpoch: 0,
    anchor: "60e05bd1b195af2f94112fa7197a5c88289058840ce7c6df9693756bc6250f55",
    hashedServerSeed: "60e05bd1b195af2f94112fa7197a5c88289058840ce7c6df9693756bc6250f55" };
  const wrong = [
    ["another seed", "server_seed_matches_commitment", fairness({ serverSeed: vectors.rounds[0].serverSeed })],
    ["another user seed", "collision_columns_match", fairness({ userSeed: "another" })],
    ["other columns", "collision_columns_match", fairness({ collisionColumns: [0] })],
    ["another configuration", "configuration_matches_hash", { configHash: zeros }],
    ["an invented anchor", "hazard_seed_belongs_to_anchor", fairness({ anchor: zeros })],
    ["another epoch", "hazard_seed_belongs_to_anchor", fairness({ hazardEpoch: HAZARD_EPOCH + 1 })],
    ["a nonce in another spelling", "inputs_are_well_formed", fairness({ nonce: "007" })],
    ["a user seed that is a number", "inputs_are_well_formed", fairness({ userSeed: 100 })],
    ["an unknown field", "inputs_are_well_formed", { roundKey: "ab" }],
    ["a field in both places", "inputs_are_well_formed", { nonce: bet.fairness.nonce }],
    ["a column that is no lane", "inputs_are_well_formed", fairness({ collisionColumns: [1.5] })],
    ["a stake below the minimum", "stake_is_allowed", { betAmount: "0.10" }],
    ["another currency", "stake_is_allowed", { currency: "XXX" }],
    ["a lane behind the hazard", "end_follows_from_road", { lastLane: firstHazard + 1, coeff: "2.05", winAmount: "20.50" }],
    ["an unknown end", "end_follows_from_road", { endReason: "WIN" }],
    ["a hazard elsewhere", "end_follows_from_road", { endReason: "hazard", lastLane: firstHazard + 1 }],
    ["another coefficient", "coefficient_matches", { coeff: "1.21" }],
    ["a minor unit more", "payout_matches", { winAmount: "10.81" }],
  ];
  for (const [what, name, changed] of wrong) {
    const checked = check(changed);
    assert.deepEqual([checked.verdict, checked.valid, checked.firstMismatch?.name], ["invalid", false, name], what);
  }
  const made = check(fairness(invented), { configurationBytes, publishedDay: { anchor: null } });
  assert.equal(made.verdict, "invalid", "an invented chain");
  assert.ok(made.checks.some(({ name, ok }) => name === "anchor_is_the_published_one" && !ok), "nobody published it");

  const end = ["end_follows_from_road", "coefficient_matches", "payout_matches"];
  const missing = [
    ["no commitment", ["server_seed_matches_commitment"], fairness({ hashedServerSeed: null })],
    ["no columns", ["collision_columns_match"], fairness({ collisionColumns: null })],
    ["an anchor without an epoch", ["anchor_is_the_published_one"], fairness({ hazardEpoch: null })],
    ["nothing known of the day", ["anchor_is_the_published_one"], {}, { configurationBytes }],
    ["no document", ["configuration_matches_hash"], {}, { publishedDay: evidence.publishedDay }],
    ["no stake", ["stake_is_allowed", ...end], { betAmount: null }],
    ["no lane", end, { lastLane: null }],
    ["no payment", ["payout_matches"], { winAmount: null }],
  ];
  for (const [what, names, changed, known] of missing) {
    const checked = check(changed, known ?? evidence);
    assert.deepEqual([checked.verdict, checked.valid, checked.unchecked.map(({ name }) => name)], ["incomplete", false, names], what);
  }
  const { fairness: stated, id, roundId, createdAt, settledAt, status, settlement, ...rest } = bet;
  assert.equal(checkRound(claimFrom({ ...rest, ...stated }), evidence).verdict, "incomplete", "freshness that no record tells");
  assert.equal(checkRound(claimFrom({ ...rest, ...stated, userSeedFresh: undefined }), evidence).verdict, "valid", "the flat fields");
}

// What JSON.parse would read and nobody could tell from something else.
function checkReading() {
  assert.deepEqual(readDocument('{"nonce":7,"userSeed":"1e2","collisionColumns":[]}').problem, undefined);
  for (const text of ['{"nonce":1,"nonce":1}', '{"nonce":1,"\\u006eonce":1}', '{"userSeed":1e2}', '{"nonce":1.0}', "[1]", "{"]) {
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
  checkReading();
  checkHazards();
  checkChain();
} catch (mismatch) {
  console.error(mismatch.message);
  process.exit(1);
}
console.log(`${vectors.rounds.length} rounds, ${vectors.hazards.length} public roads, ${vectors.chain.length} chain links hold`);
