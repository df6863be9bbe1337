// Checks the browser's verifier against the published vectors: `node tests/verifier.mjs`. Thresholds, rounds, public
// roads and chain links must all come out as an independent implementation computed them; exits 1 on a mismatch and
// says which vector it was. It needs node alone, no package.

import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { chacha20Block, hex, hmacSha256, sha256Text } from "../src/http/page/hash.js";
import { checkRound, claimFrom } from "../src/http/page/proof.js";
import { PUBLISHED_CONFIGURATION, anchorOf, paytableOf, road, thresholds, visibleHazards } from "../src/http/page/verify.js";

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

// A sound record passes; a record with any one thing changed is refused by the name of that thing.
function checkProofs() {
  const round = vectors.rounds[1];
  const bet = {
    difficulty: round.difficulty, betAmount: "10.00", winAmount: "0.00", coeff: "1.21", endReason: "hazard",
    lastLane: round.collisionColumns[0], fairness: { ...round },
  };
  const firstMismatch = (changed) => checkRound(claimFrom({ ...bet, ...changed })).firstMismatch?.name ?? null;
  const fairness = (changed) => ({ fairness: { ...round, ...changed } });
  assert.equal(checkRound(claimFrom(bet)).valid, true, "a sound record");
  const uncommitted = claimFrom({ ...bet, ...fairness({ hashedServerSeed: undefined }) });
  assert.equal(checkRound(uncommitted).valid, false, "a record without a commitment");
  assert.equal(firstMismatch(fairness({ serverSeed: vectors.rounds[0].serverSeed })), "Commitment");
  assert.equal(firstMismatch(fairness({ userSeed: "another" })), "Hazard lanes");
  assert.equal(firstMismatch(fairness({ nonce: "007" })), "Fields");
  assert.equal(firstMismatch({ lastLane: bet.lastLane + 1 }), "Outcome");
  const paid = { endReason: "cashout", lastLane: 0, coeff: "1.08", winAmount: "10.80" };
  assert.equal(firstMismatch(paid), null, "an exact payment");
  assert.equal(firstMismatch({ ...paid, winAmount: "10.81" }), "Outcome");
  assert.equal(firstMismatch({ ...paid, lastLane: 2, coeff: "1.37", winAmount: "13.70" }), "Outcome", "a payment beyond the first hazard");
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
  checkHazards();
  checkChain();
} catch (mismatch) {
  console.error(mismatch.message);
  process.exit(1);
}
console.log(`${vectors.rounds.length} rounds, ${vectors.hazards.length} public roads, ${vectors.chain.length} chain links hold`);
