// A past round, checked claim by claim. The rules are in verify.js; here they become named checks, in the order in which a
// doubtful player would ask, and a verdict: "invalid" when something does not match (the first such check says what),
// "valid" when all that a round's fairness rests on was checked and is right, "incomplete" when nothing is wrong and
// something could not be checked. The names and the verdicts are those of the server and of the command line, whose code
// this does not share. What a claim contains is checked or refused by name.

import { checkEnd } from "./proof-end.js";
import { EPOCHS_PER_DAY, PUBLISHED_CONFIGURATION, anchorOf, configurationHash, indexUnder, isEpoch, paytableOf, placeOfEpoch, road } from "./verify.js";

const TEXTS = ["serverSeed", "hashedServerSeed", "userSeed", "hazardSeed", "difficulty", "anchor", "configHash", "betAmount", "currency",
  "endReason", "winAmount", "coeff"];
const INTEGERS = ["hazardEpoch", "configVersion", "lastLane"];
const CLAIM_FIELDS = new Set([...TEXTS, ...INTEGERS, "nonce", "collisionColumns", "userSeedFresh"]);
// What else a bet's record says: which bet it is and how far its settlement has come. It claims nothing of the outcome. That a
// user seed was fresh is the record's word too; no seed tells it.
const RECORD_FIELDS = new Set(["id", "roundId", "createdAt", "settledAt", "status", "settlement", "fairness", "userSeedFresh"]);

const HASH_PATTERN = /^[0-9a-f]{64}$/;
const INTEGER_PATTERN = /^(0|[1-9]\d{0,15})$/;

/**
 * Reads pasted JSON: { document } or { problem }. A name that stands twice, and a number that is written with a point or an
 * exponent, have no single meaning, and JSON.parse would not tell of them.
 */
export function readDocument(text) {
  let document;
  try {
    document = JSON.parse(text);
  } catch (unreadable) {
    return { problem: `This is not JSON: ${unreadable.message}` };
  }
  if (typeof document !== "object" || document === null || Array.isArray(document)) return { problem: "A round is one JSON object." };
  const ambiguous = ambiguity(text);
  return ambiguous ? { problem: ambiguous } : { document };
}

function ambiguity(text) {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|[{}[\],:]|true|false|null/g) ?? [];
  const names = [];
  for (const [place, token] of tokens.entries()) {
    if (token === "{") names.push(new Set());
    else if (token === "}") names.pop();
    else if (token.startsWith('"') && tokens[place + 1] === ":") {
      const name = JSON.parse(token);
      if (names.at(-1).has(name)) return `${name}: stands twice`;
      names.at(-1).add(name);
    } else if (/^-?\d/.test(token) && /[.eE]/.test(token)) return `${token}: no number of a claim has a point or an exponent`;
  }
  return null;
}

/** What a document claims: a bet as the history returns it, or the flat fields of a verification request. */
export function claimFrom(document) {
  const isRecord = typeof document.fairness === "object" && document.fairness !== null;
  const { fairness, ...around } = document;
  const stated = isRecord ? { ...around, ...fairness } : document;
  const claim = { refused: null };
  for (const name of CLAIM_FIELDS) claim[name] = stated[name] ?? null;
  if (isRecord) claim.userSeedFresh = null;
  const isKnown = (name) => CLAIM_FIELDS.has(name) || (isRecord && RECORD_FIELDS.has(name));
  const unknown = Object.keys(stated).find((name) => !isKnown(name));
  const twice = isRecord ? Object.keys(fairness).find((name) => Object.hasOwn(around, name)) : undefined;
  if (unknown !== undefined) claim.refused = `${unknown}: is not a field of a claim`;
  else if (twice !== undefined) claim.refused = `${twice}: stands twice`;
  return claim;
}

// A value of another type or form than the field has; null when all are readable.
function malformed(claim) {
  const wrongText = TEXTS.find((name) => claim[name] !== null && typeof claim[name] !== "string");
  if (wrongText) return `${wrongText}: must be a text`;
  const missing = ["serverSeed", "userSeed", "hazardSeed", "difficulty", "nonce"].find((name) => claim[name] === null || claim[name] === "");
  if (missing) return `${missing}: is required`;
  const wrongHash = ["hashedServerSeed", "anchor", "configHash"].find((name) => claim[name] !== null && !HASH_PATTERN.test(claim[name]));
  if (wrongHash) return `${wrongHash}: 64 lower-case hex characters`;
  const isInteger = (value) => Number.isSafeInteger(value) || (typeof value === "string" && INTEGER_PATTERN.test(value));
  if (!isInteger(claim.nonce)) return "nonce: an integer, or its decimal text";
  if (claim.hazardEpoch !== null && !isEpoch(claim.hazardEpoch)) return "hazardEpoch: an integer";
  const wrongInteger = ["configVersion", "lastLane"].find((name) => claim[name] !== null && !Number.isSafeInteger(claim[name]));
  if (wrongInteger) return `${wrongInteger}: must be an integer`;
  const isLane = (value) => Number.isInteger(value) && value >= 0 && value < 256;
  if (claim.collisionColumns !== null && !(Array.isArray(claim.collisionColumns) && claim.collisionColumns.every(isLane))) {
    return "collisionColumns: a list of lane numbers";
  }
  if (claim.userSeedFresh !== null && typeof claim.userSeedFresh !== "boolean") return "userSeedFresh: true or false";
  return null;
}

// The part of a configuration document that decides rounds; throws when the document is of another shape.
function configurationFrom(bytes) {
  const { rtp, difficulties, currencies } = JSON.parse(new TextDecoder().decode(bytes));
  const configuration = { rtp, difficulties, currencies };
  for (const difficulty of Object.keys(difficulties)) paytableOf(configuration, difficulty);
  return configuration;
}

/**
 * Checks a claim. `evidence` holds what else is known: `configurationBytes` (the stored document of the round's version),
 * `publishedDay` (the day's chain record; its `anchor` is null when none was ever published) and `witness` (what this browser
 * noted before the bet). Returns { verdict, valid, firstMismatch, checks: [{ name, ok, detail }], unchecked: [{ name, why }],
 * road, lanes }, `road` being null when it cannot be computed.
 */
export function checkRound(claim, evidence = {}) {
  const found = { checks: [], unchecked: [] };
  const add = (name, ok, detail) => found.checks.push({ name, ok, detail });
  const miss = (name, why) => found.unchecked.push({ name, why });

  const refused = claim.refused ?? malformed(claim);
  if (refused) {
    add("inputs_are_well_formed", false, refused);
    return concluded(found, null, 0);
  }
  const configuration = configurationOf(evidence.configurationBytes ?? null, miss);
  let computed = null;
  try {
    computed = road(claim, configuration);
    add("inputs_are_well_formed", true, "the seeds, the nonce and the difficulty are written as the rules demand");
  } catch (wrong) {
    if (!(wrong instanceof RangeError)) throw wrong;
    add("inputs_are_well_formed", false, wrong.message);
    return concluded(found, null, 0);
  }
  checkCommitment(claim, computed, add, miss);
  checkWitness(claim, evidence.witness, add);
  checkConfiguration(claim, evidence.configurationBytes ?? null, add, miss);
  checkBeacon(claim, evidence.publishedDay ?? null, add, miss);
  checkColumns(claim, computed, add, miss);
  checkEnd(claim, computed.collisionColumns, configuration, add, miss);
  if (claim.userSeedFresh !== null) miss("user_seed_fresh_as_recorded", "userSeedFresh follows from no seed: only the record of the player's bets tells it");
  return concluded(found, computed, paytableOf(configuration, claim.difficulty).coefficients.length);
}

function concluded({ checks, unchecked }, computed, lanes) {
  const firstMismatch = checks.find((check) => !check.ok) ?? null;
  const verdict = firstMismatch ? "invalid" : unchecked.length > 0 ? "incomplete" : "valid";
  return { verdict, valid: verdict === "valid", firstMismatch, checks, unchecked, road: computed, lanes };
}

function configurationOf(bytes, miss) {
  if (!bytes) return PUBLISHED_CONFIGURATION;
  try {
    return configurationFrom(bytes);
  } catch {
    miss("configuration_is_readable", "this page cannot read the document of this version; its own paytable was used");
    return PUBLISHED_CONFIGURATION;
  }
}

function checkCommitment(claim, computed, add, miss) {
  const name = "server_seed_matches_commitment";
  if (claim.hashedServerSeed === null) return miss(name, `no hashedServerSeed given; SHA-256(serverSeed) is ${computed.hashedServerSeed}`);
  add(name, computed.hashedServerSeed === claim.hashedServerSeed, `SHA-256(serverSeed) = ${computed.hashedServerSeed}`);
}

function checkWitness(claim, witness, add) {
  if (!witness) return;
  const changed = ["hashedServerSeed", "userSeed", "hazardEpoch"].find((field) => String(witness[field]) !== String(claim[field]));
  add("as_noted_before_the_bet", !changed, changed
    ? `this browser noted another ${changed}: ${witness[changed]}`
    : "commitment, user seed and epoch are the ones that this browser noted before the bet");
}

function checkConfiguration(claim, bytes, add, miss) {
  const name = "configuration_matches_hash";
  if (claim.configHash === null) return miss(name, "the claim has no configHash");
  if (!bytes) return miss(name, "the document of this round's version was not at hand; the published paytable was used");
  const hash = configurationHash(bytes);
  add(name, hash === claim.configHash, `SHA-256 of version ${claim.configVersion ?? "?"}: ${hash}`);
}

// Anybody can make up a chain and its anchor: what counts is the one that was published for the day.
function checkBeacon(claim, publishedDay, add, miss) {
  const anchor = claim.anchor ?? publishedDay?.anchor ?? null;
  const epoch = claim.hazardEpoch === null ? null : Number(claim.hazardEpoch);
  checkChain(claim.hazardSeed, anchor, epoch, add, miss);
  const name = "anchor_is_the_published_one";
  if (epoch === null) return miss(name, "the claim has no hazardEpoch, which says the day");
  if (!publishedDay) return miss(name, `the anchor published for the day is not at hand; compare with /api/hazards/chain/${placeOfEpoch(epoch).date}`);
  if (publishedDay.anchor === null) return add(name, false, "no anchor was ever published for the day of this epoch");
  const late = publishedDay.publishedAt >= `${placeOfEpoch(epoch).date}T`;
  add(name, publishedDay.anchor === anchor,
    `published ${publishedDay.publishedAt}${late ? " (late: after its day had begun)" : ", before its day began"}: ${publishedDay.anchor}`);
}

function checkChain(hazardSeed, anchor, epoch, add, miss) {
  const name = "hazard_seed_belongs_to_anchor";
  if (anchor === null) return miss(name, "the anchor of the day is not known");
  if (epoch === null) {
    const index = indexUnder(hazardSeed, anchor);
    return add(name, index !== null, index === null
      ? `hashed up to ${EPOCHS_PER_DAY} times, the hazard seed never becomes the anchor`
      : `hashed ${index + 1} times, the hazard seed becomes the anchor`);
  }
  const { indexInDay, date } = placeOfEpoch(epoch);
  const reached = anchorOf(hazardSeed, indexInDay);
  add(name, reached === anchor, `link ${indexInDay} of ${date} leads to anchor ${reached}`);
}

function checkColumns(claim, computed, add, miss) {
  const name = "collision_columns_match";
  const columns = columnList(computed.collisionColumns);
  if (claim.collisionColumns === null) return miss(name, `none given to compare with; the seeds give ${columns}`);
  const same = claim.collisionColumns.join() === computed.collisionColumns.join();
  add(name, same, same ? `the seeds give ${columns}` : `the seeds give ${columns}, the record says ${columnList(claim.collisionColumns)}`);
}

// Columns are numbered from 0 here, as in the record that the player compares with.
function columnList(columns) {
  if (columns.length === 0) return "no column";
  return `column${columns.length > 1 ? "s" : ""} ${columns.join(", ")}`;
}
