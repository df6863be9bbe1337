// A claim about a round, as it was pasted, typed or returned by the history, and what of it cannot be read. Every field that a
// document has is taken or refused by name, and nothing is repaired on the way: a claim that was put right here is not the one
// that was made. Of a field of the form that nobody changed, the pasted value counts and not the text that shows it.

import { isEpoch } from "./verify.js";
import { END_REASONS, isAmount, isCoefficient } from "./proof-end.js";
import { SETTLEMENTS, STATUSES } from "./proof-record.js";

const TEXTS = ["serverSeed", "hashedServerSeed", "userSeed", "hazardSeed", "difficulty", "anchor", "configHash", "betAmount", "currency",
  "endReason", "winAmount", "coeff"];
const CLAIM_FIELDS = new Set([...TEXTS, "hazardEpoch", "configVersion", "lastLane", "nonce", "collisionColumns", "userSeedFresh"]);
// What else a bet's record says. Status and settlement are held against the end; the rest says which bet it is, and is looked at
// for its form.
const RECORD_FIELDS = new Set(["id", "roundId", "createdAt", "settledAt", "status", "settlement"]);

const LARGEST_LANE = 2 ** 15 - 1;
const LARGEST_VERSION = 2 ** 31 - 1;
const TIME_PATTERN = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/;
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
    } else if (token === "-0") return "-0: is no integer of a claim";
    else if (/^-?\d/.test(token) && /[.eE]/.test(token)) return `${token}: no number of a claim has a point or an exponent`;
  }
  return null;
}

/** What a document claims: a bet as the history returns it, or the flat fields of a verification request. */
export function claimFrom(document) {
  const isRecord = typeof document.fairness === "object" && document.fairness !== null;
  const { fairness, ...around } = document;
  const stated = isRecord ? { ...around, ...fairness } : document;
  const claim = { refused: null, record: null };
  for (const name of CLAIM_FIELDS) claim[name] = stated[name] ?? null;
  if (isRecord) claim.record = Object.fromEntries([...RECORD_FIELDS].map((name) => [name, stated[name] ?? null]));
  const isKnown = (name) => CLAIM_FIELDS.has(name) || (isRecord && RECORD_FIELDS.has(name));
  const unknown = Object.keys(stated).find((name) => !isKnown(name));
  const twice = isRecord ? Object.keys(fairness).find((name) => Object.hasOwn(around, name)) : undefined;
  if (unknown !== undefined) claim.refused = `${unknown}: is not a field of a claim`;
  else if (twice !== undefined) claim.refused = `${twice}: stands twice`;
  return claim;
}

/**
 * The claim of a form. `document` is what was pasted, or null; `shown` holds the fields as it filled them, `typed` as they are now.
 * A field that was changed is the text that was typed.
 */
export function claimOfForm(document, shown, typed) {
  const claim = claimFrom(document ?? {});
  for (const [field, text] of Object.entries(typed)) {
    if (text !== shown[field]) claim[field] = field === "collisionColumns" ? columnsTyped(text) : text === "" ? null : text;
  }
  return claim;
}

/** How a field of the form shows a value. */
export function shownText(value) {
  if (value === null) return "";
  if (!Array.isArray(value)) return typeof value === "object" ? JSON.stringify(value) : String(value);
  return value.length === 0 ? "none" : value.map((item) => (typeof item === "number" ? String(item) : JSON.stringify(item))).join(", ");
}

// What is no integer stays the text that it is, to be refused.
function columnsTyped(text) {
  const written = text.trim();
  if (written === "") return null;
  if (written === "none") return [];
  return written.split(/\s*,\s*|\s+/).map((column) => (INTEGER_PATTERN.test(column) ? Number(column) : column));
}

/** Why a claim cannot be read, by the name of the field; null when all of it can. */
export function malformed(claim) {
  return claim.refused ?? malformedText(claim) ?? malformedInteger(claim) ?? malformedEnd(claim) ?? malformedRecord(claim.record);
}

function malformedText(claim) {
  const wrongText = TEXTS.find((name) => claim[name] !== null && typeof claim[name] !== "string");
  if (wrongText) return `${wrongText}: must be a text`;
  const missing = ["serverSeed", "userSeed", "hazardSeed", "difficulty", "nonce"].find((name) => claim[name] === null || claim[name] === "");
  if (missing) return `${missing}: is required`;
  const wrongHash = ["hashedServerSeed", "anchor", "configHash"].find((name) => claim[name] !== null && !HASH_PATTERN.test(claim[name]));
  return wrongHash ? `${wrongHash}: 64 lower-case hex characters` : null;
}

// -0 is a number that is written with a sign, and is none of ours.
function isInteger(value, smallest, largest) {
  return Number.isSafeInteger(value) && !Object.is(value, -0) && value >= smallest && value <= largest;
}

function malformedInteger(claim) {
  const isWritten = typeof claim.nonce === "string" && INTEGER_PATTERN.test(claim.nonce);
  if (!isWritten && !isInteger(claim.nonce, 0, Number.MAX_SAFE_INTEGER)) return "nonce: an integer, or its decimal text";
  const isNoEpoch = claim.hazardEpoch !== null && (Object.is(claim.hazardEpoch, -0) || !isEpoch(claim.hazardEpoch));
  if (isNoEpoch) return "hazardEpoch: an integer, or its decimal text";
  const isWrong = (name, largest) => claim[name] !== null && !isInteger(claim[name], -largest - 1, largest);
  if (isWrong("configVersion", LARGEST_VERSION)) return "configVersion: must be an integer";
  if (isWrong("lastLane", LARGEST_LANE)) return "lastLane: must be an integer";
  const { collisionColumns } = claim;
  if (collisionColumns !== null && !(Array.isArray(collisionColumns) && collisionColumns.every((lane) => isInteger(lane, 0, 255)))) {
    return "collisionColumns: a list of lane numbers";
  }
  return claim.userSeedFresh !== null && typeof claim.userSeedFresh !== "boolean" ? "userSeedFresh: true or false" : null;
}

function malformedEnd(claim) {
  const amount = ["betAmount", "winAmount"].find((name) => claim[name] !== null && !isAmount(claim[name]));
  if (amount) return `${amount}: is no plain amount`;
  if (claim.coeff !== null && !isCoefficient(claim.coeff)) return "coeff: is no coefficient";
  return claim.endReason !== null && !END_REASONS.has(claim.endReason) ? `endReason: "${claim.endReason}" is no reason for which a round ends` : null;
}

function malformedRecord(record) {
  if (record === null) return null;
  const isName = (value) => typeof value === "string" && value !== "";
  const isTime = (value) => typeof value === "string" && TIME_PATTERN.test(value);
  const forms = { id: isName, roundId: isName, createdAt: isTime, settledAt: isTime,
    status: (value) => STATUSES.has(value), settlement: (value) => SETTLEMENTS.has(value) };
  const wrong = Object.keys(forms).find((name) => record[name] !== null && !forms[name](record[name]));
  return wrong ? `${wrong}: is nothing that a record says` : null;
}
