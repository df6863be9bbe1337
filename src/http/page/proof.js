// A past round, checked claim by claim. The rules are in verify.js; here they become named checks, in the order in which a
// doubtful player would ask, and a verdict: "invalid" when something does not match (the first such check says what),
// "valid" when all that a round's fairness rests on was checked and is right, "incomplete" when nothing is wrong and
// something could not be checked. The names and the verdicts are those of the server and of the command line, whose code
// this does not share. What a claim contains is checked here or refused by name in claim.js. What rests on the configuration is
// checked under the one that the round names and under no other: another paytable gives another road.

import { malformed } from "./claim.js";
import { END_CHECKS, canReadCurrencies, checkEnd } from "./proof-end.js";
import { checkRecord } from "./proof-record.js";
import { EPOCHS_PER_DAY, PUBLISHED_CONFIGURATION, PUBLISHED_CONFIGURATION_HASH, anchorOf, configurationHash, indexUnder, paytableOf,
  placeOfEpoch, road } from "./verify.js";

const COLUMNS = "collision_columns_match";
const NOTED = "as_noted_before_the_bet";
const FRESH = "user_seed_fresh_as_recorded";

// The part of a configuration document that decides rounds; throws when the document is of another shape.
function configurationFrom(bytes) {
  const { rtp, difficulties, currencies } = JSON.parse(new TextDecoder().decode(bytes));
  const configuration = { rtp, difficulties, currencies };
  for (const difficulty of Object.keys(PUBLISHED_CONFIGURATION.difficulties)) paytableOf(configuration, difficulty);
  if (!canReadCurrencies(currencies)) throw new RangeError("the currencies are of another shape");
  return configuration;
}

/**
 * Checks a claim. `evidence` holds what else is known: `configurationBytes` (the stored document of the round's version),
 * `publishedDay` (the day's chain record; its `anchor` is null when none was ever published) and `witness` (what this browser
 * noted before the bet). Returns { verdict, valid, firstMismatch, checks: [{ name, ok, detail }], unchecked: [{ name, why }],
 * road, lanes }, `road` being null when it cannot be computed, and its columns when the round's configuration is not at hand.
 */
export function checkRound(claim, evidence = {}) {
  const found = { checks: [], unchecked: [] };
  const add = (name, ok, detail) => found.checks.push({ name, ok, detail });
  const miss = (name, why) => found.unchecked.push({ name, why });

  const refused = malformed(claim);
  if (refused) {
    add("inputs_are_well_formed", false, refused);
    return concluded(found, null, 0);
  }
  const played = configurationOf(claim, evidence.configurationBytes ?? null);
  let computed = null;
  try {
    computed = road(claim, played.configuration);
    add("inputs_are_well_formed", true, "the seeds, the nonce and the difficulty are written as the rules demand");
  } catch (wrong) {
    if (!(wrong instanceof RangeError)) throw wrong;
    add("inputs_are_well_formed", false, wrong.message);
    return concluded(found, null, 0);
  }
  checkCommitment(claim, computed, add, miss);
  checkWitness(claim, evidence.witness ?? null, add, miss);
  checkConfiguration(claim, played, add, miss);
  checkBeacon(claim, evidence.publishedDay ?? null, add, miss);
  if (played.isKnown) {
    checkColumns(claim, computed, add, miss);
    checkEnd(claim, computed.collisionColumns, played.configuration, add, miss);
  } else {
    for (const name of [COLUMNS, ...END_CHECKS]) miss(name, played.why);
  }
  checkRecord(claim, add, miss);
  checkFreshness(claim, evidence.witness ?? null, add, miss);
  return concluded(found, computed, played.configuration ? paytableOf(played.configuration, claim.difficulty).coefficients.length : 0);
}

function concluded({ checks, unchecked }, computed, lanes) {
  const firstMismatch = checks.find((check) => !check.ok) ?? null;
  const verdict = firstMismatch ? "invalid" : unchecked.length > 0 ? "incomplete" : "valid";
  return { verdict, valid: verdict === "valid", firstMismatch, checks, unchecked, road: computed, lanes };
}

// The configuration under which the round is computed. Only one that the round names is held against what it claims: the document
// of its version, or the published one where the claim has its hash or names none.
function configurationOf(claim, bytes) {
  if (bytes) {
    try {
      return { configuration: configurationFrom(bytes), isKnown: true, hash: configurationHash(bytes) };
    } catch {
      if (configurationHash(bytes) === claim.configHash) {
        const why = "this page cannot read the round's configuration, on which this rests";
        return { configuration: null, isKnown: false, hash: claim.configHash, why };
      }
    }
  }
  const isNamed = claim.configHash !== null || claim.configVersion !== null;
  if (!isNamed || claim.configHash === PUBLISHED_CONFIGURATION_HASH) return { configuration: PUBLISHED_CONFIGURATION, isKnown: true, hash: null };
  return { configuration: null, isKnown: false, hash: null, why: "it rests on the configuration that the round names, which is not at hand" };
}

function checkCommitment(claim, computed, add, miss) {
  const name = "server_seed_matches_commitment";
  if (claim.hashedServerSeed === null) return miss(name, `no hashedServerSeed given; SHA-256(serverSeed) is ${computed.hashedServerSeed}`);
  add(name, computed.hashedServerSeed === claim.hashedServerSeed, `SHA-256(serverSeed) = ${computed.hashedServerSeed}`);
}

// What the browser did not note, or the claim does not say, cannot be compared; it is not wrong for that.
function checkWitness(claim, witness, add, miss) {
  if (!witness) return undefined;
  const fields = ["hashedServerSeed", "userSeed", "hazardEpoch"];
  const isSaid = (value) => value !== null && value !== undefined;
  const compared = fields.filter((field) => isSaid(witness[field]) && isSaid(claim[field]));
  const changed = compared.find((field) => String(witness[field]) !== String(claim[field]));
  if (changed) return add(NOTED, false, `this browser noted another ${changed}: ${witness[changed]}`);
  const missing = fields.find((field) => !compared.includes(field));
  if (missing) return miss(NOTED, `${missing} stands not in both the claim and what this browser noted`);
  return add(NOTED, true, "commitment, user seed and epoch are the ones that this browser noted before the bet");
}

// No seed tells whether the player had sent the user seed before. The page knows it of a seed that it made and sent but once.
function checkFreshness(claim, witness, add, miss) {
  if (claim.userSeedFresh === null) return undefined;
  if (witness?.userSeedFresh !== true) return miss(FRESH, "userSeedFresh follows from no seed, and this browser noted nothing of it");
  return add(FRESH, claim.userSeedFresh, claim.userSeedFresh
    ? "this browser made the user seed for this bet alone"
    : "this browser made the user seed for this bet alone, and the record says that it was not fresh");
}

function checkConfiguration(claim, played, add, miss) {
  const name = "configuration_matches_hash";
  if (claim.configHash === null) return miss(name, "the claim has no configHash");
  if (played.hash === null) {
    return miss(name, played.isKnown
      ? "the document of this round's version was not at hand; the published paytable, whose hash the claim has, was used"
      : "the configuration that the round names is not at hand");
  }
  return add(name, played.hash === claim.configHash, `SHA-256 of version ${claim.configVersion ?? "?"}: ${played.hash}`);
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
  const columns = columnList(computed.collisionColumns);
  if (claim.collisionColumns === null) return miss(COLUMNS, `none given to compare with; the seeds give ${columns}`);
  const same = claim.collisionColumns.join() === computed.collisionColumns.join();
  add(COLUMNS, same, same ? `the seeds give ${columns}` : `the seeds give ${columns}, the record says ${columnList(claim.collisionColumns)}`);
}

// Columns are numbered from 0 here, as in the record that the player compares with.
function columnList(columns) {
  if (columns.length === 0) return "no column";
  return `column${columns.length > 1 ? "s" : ""} ${columns.join(", ")}`;
}
