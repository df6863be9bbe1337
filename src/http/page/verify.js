// The fairness rules, as a player's own browser computes them. Everything here is pure: seeds and a paytable in,
// roads and named checks out; no network, no clock, no page. It shares no code with the server, so where the two
// disagree, one of them is wrong.
//
//   hashedServerSeed = SHA-256(serverSeed)                                  shown before the bet
//   roundKey         = HMAC-SHA256(serverSeed, userSeed ":" nonce ":" hazardSeed)
//   w0, w1, ...      = ChaCha20 keystream of roundKey, as little-endian 64-bit words
//   threshold[k]     = floor(2^64 * (1 - coefficient[k-1] / coefficient[k])),  coefficient[-1] = RTP
//   lane k has a hazard  <=>  w_k < threshold[k]
//
// A configuration may name another survival law, columns_without_replacement: with n columns and m hazards among them,
// threshold[k] = floor(2^64 * m / (n - k)), and lane k pays RTP * C(n, m) / C(n - k - 1, m), cut after two decimals.

import { hex, hmacSha256, keystreamWords, sha256, sha256Text } from "./hash.js";

/** Five-second epochs in a UTC day; each has one link of the day's hazard chain. */
export const EPOCHS_PER_DAY = 17_280;
export const EPOCH_MS = 5_000;

// The last moment of the language's calendar.
const LAST_MOMENT_MS = 8.64e15;
const WORD_RANGE = 2n ** 64n;
const LARGEST_NONCE = 2n ** 53n - 1n;
const SEED_PATTERN = /^[0-9a-f]{64}$/;
const USER_SEED_PATTERN = /^[A-Za-z0-9_.-]{1,64}$/;

/** The published paytable that a fresh installation plays; a round under another version brings its own document. */
export const PUBLISHED_CONFIGURATION = {
  rtp: "0.955",
  difficulties: {
    EASY: { hazards: 3, coefficients: row("1.01 1.03 1.06 1.10 1.15 1.19 1.24 1.30 1.35 1.42 1.48 1.56 1.65 1.75 1.85 1.98 "
      + "2.12 2.28 2.47 2.70 2.96 3.28 3.70 4.11 4.64 5.39 6.50 8.36 12.08 23.24") },
    MEDIUM: { hazards: 4, coefficients: row("1.08 1.21 1.37 1.56 1.78 2.05 2.37 2.77 3.24 3.85 4.62 5.61 6.91 8.64 10.99 "
      + "14.29 18.96 26.07 37.24 53.82 82.36 137.59 265.35 638.82 2457.00") },
    HARD: { hazards: 5, coefficients: row("1.18 1.46 1.83 2.31 2.95 3.82 5.02 6.66 9.04 12.52 17.74 25.80 38.71 60.21 97.34 "
      + "166.87 305.94 595.86 1283.03 3267.64 10898.54 62162.09") },
    DAREDEVIL: { hazards: 7, coefficients: row("1.44 2.21 3.45 5.53 9.09 15.30 26.78 48.70 92.54 185.08 391.25 894.28 2235.72 "
      + "6096.15 18960.33 72432.75 379632.82 3608855.25") },
  },
  currencies: [{ code: "INR", decimalPlaces: 2, minBetAmount: "1.00", maxBetAmount: "150.00", betStep: "0.01", maxWinAmount: "20000.00" }],
};

/** The SHA-256 of that paytable's document, as a round under it names it. */
export const PUBLISHED_CONFIGURATION_HASH = "2d0dbf953b034be5ae12308bcf184a771f0a3bdf82da2fc11a4493685d309863";

function row(text) {
  return text.split(" ");
}

/** An exact decimal text such as "1.01" as a fraction of BigInts: { units: 101n, scale: 100n }. */
export function exactDecimal(text) {
  const parts = /^(\d+)(?:\.(\d+))?$/.exec(String(text));
  if (!parts) throw new RangeError(`"${text}" is not a plain decimal number`);
  const fraction = parts[2] ?? "";
  return { units: BigInt(parts[1] + fraction), scale: 10n ** BigInt(fraction.length) };
}

/** What each lane of a difficulty pays and risks: { coefficients, thresholds }; throws a RangeError for an unknown survival law. */
export function paytableOf(configuration, difficulty) {
  const stated = configuration.difficulties[difficulty];
  const law = stated.survivalLaw ?? "rtp_over_coefficient";
  if (law === "rtp_over_coefficient") {
    return { coefficients: stated.coefficients, thresholds: thresholds(stated.coefficients, configuration.rtp) };
  }
  if (law === "columns_without_replacement") return uncoveredColumns(BigInt(stated.columns), BigInt(stated.hazards), configuration.rtp);
  throw new RangeError(`survival law "${law}" is not known to this page`);
}

function uncoveredColumns(columns, hazards, rtp) {
  const { units, scale } = exactDecimal(rtp);
  const paytable = { coefficients: [], thresholds: [] };
  let reciprocal = { top: 1n, bottom: 1n }; // C(n, m) / C(n - k, m), one factor a lane
  for (let left = columns; left > hazards; left -= 1n) {
    reciprocal = { top: reciprocal.top * left, bottom: reciprocal.bottom * (left - hazards) };
    const cut = (100n * units * reciprocal.top) / (scale * reciprocal.bottom);
    paytable.coefficients.push(`${cut / 100n}.${String(cut % 100n).padStart(2, "0")}`);
    paytable.thresholds.push((WORD_RANGE * hazards) / left);
  }
  return paytable;
}

/** The hazard threshold of every lane, out of 2^64. */
export function thresholds(coefficients, rtp) {
  let previous = exactDecimal(rtp);
  return coefficients.map((text) => {
    const current = exactDecimal(text);
    const ratioTop = previous.units * current.scale;
    const ratioBottom = previous.scale * current.units;
    previous = current;
    return (WORD_RANGE * (ratioBottom - ratioTop)) / ratioBottom;
  });
}

/** The 32-byte key of a round. */
export function roundKey(serverSeed, userSeed, nonce, hazardSeed) {
  return hmacSha256(serverSeed, `${userSeed}:${nonce}:${hazardSeed}`);
}

/** The lanes on which a round meets a hazard. */
export function collisionColumns(key, laneThresholds) {
  const words = keystreamWords(key);
  return laneThresholds.flatMap((threshold, lane) => (words.next().value < threshold ? [lane] : []));
}

/** The hazards that all players see during one epoch: distinct columns, by a partial Fisher-Yates shuffle. */
export function visibleHazards(hazardSeed, difficulty, lanes, hazards) {
  const words = keystreamWords(hmacSha256(hazardSeed, difficulty));
  const columns = Array.from({ length: lanes }, (_, column) => column);
  for (let index = 0; index < hazards; index += 1) {
    const chosen = index + Number(uniformBelow(BigInt(lanes - index), words));
    [columns[index], columns[chosen]] = [columns[chosen], columns[index]];
  }
  return columns.slice(0, hazards).sort((left, right) => left - right);
}

// A word beyond the largest multiple of the span would favour the low columns, so it is drawn again.
function uniformBelow(span, words) {
  const limit = (WORD_RANGE / span) * span;
  let word = words.next().value;
  while (word >= limit) word = words.next().value;
  return word % span;
}

/** The day's published anchor, from the link of one epoch of that day. */
export function anchorOf(hazardSeed, indexInDay) {
  let link = hazardSeed;
  for (let steps = 0; steps <= indexInDay; steps += 1) link = sha256Text(link);
  return link;
}

/** Which link of a day's chain a seed is, by the chain's anchor; null when it is none. */
export function indexUnder(hazardSeed, anchor) {
  let link = hazardSeed;
  for (let index = 0; index < EPOCHS_PER_DAY; index += 1) {
    link = sha256Text(link);
    if (link === anchor) return index;
  }
  return null;
}

/** Whether this is the number of an epoch, as an integer or its decimal text, of a day that a calendar has. */
export function isEpoch(value) {
  const isWritten = Number.isSafeInteger(value) || (typeof value === "string" && /^(0|[1-9]\d{0,15})$/.test(value));
  return isWritten && Number(value) >= 0 && Number(value) * EPOCH_MS <= LAST_MOMENT_MS;
}

/** Which link of its day's chain an epoch uses, and that day as yyyy-mm-dd (UTC). */
export function placeOfEpoch(epoch) {
  const date = new Date(epoch * EPOCH_MS).toISOString().slice(0, 10);
  return { indexInDay: epoch % EPOCHS_PER_DAY, date };
}

/**
 * Recomputes one round: { hashedServerSeed, roundKey, collisionColumns }; throws a RangeError that names a malformed field. Without a
 * configuration (null) nobody knows the columns, which are null.
 */
export function road(claim, configuration = PUBLISHED_CONFIGURATION) {
  const broken = malformedField(claim, configuration);
  if (broken) throw new RangeError(broken);
  const key = roundKey(claim.serverSeed, claim.userSeed, String(claim.nonce), claim.hazardSeed);
  return {
    hashedServerSeed: sha256Text(claim.serverSeed),
    roundKey: hex(key),
    collisionColumns: configuration && collisionColumns(key, paytableOf(configuration, claim.difficulty).thresholds),
  };
}

function malformedField(claim, configuration) {
  if (!SEED_PATTERN.test(claim.serverSeed ?? "")) return "serverSeed: 64 lower-case hex characters";
  if (!USER_SEED_PATTERN.test(claim.userSeed ?? "")) return "userSeed: 1 to 64 of A-Z a-z 0-9 _ . -";
  if (!/^(0|[1-9]\d{0,15})$/.test(String(claim.nonce)) || BigInt(claim.nonce) > LARGEST_NONCE) {
    return "nonce: a decimal integer from 0 to 2^53-1, without leading zeros";
  }
  if (!SEED_PATTERN.test(claim.hazardSeed ?? "")) return "hazardSeed: 64 lower-case hex characters";
  const { difficulties } = configuration ?? PUBLISHED_CONFIGURATION;
  if (!Object.hasOwn(difficulties, claim.difficulty ?? "")) {
    return `difficulty: one of ${Object.keys(difficulties).join(", ")}`;
  }
  return null;
}

/** The SHA-256 of a configuration document, as the proof names it. */
export function configurationHash(bytes) {
  return hex(sha256(bytes));
}

/** The shell line that checks a commitment without any of our code. */
export function shellLine(serverSeed) {
  return `echo -n ${serverSeed} | sha256sum`;
}
