// The part of a proof that is about money: did the round end as its road allows, and was exactly that paid? The end follows
// from the road: a hazard ends the round on the first hazard lane, and every payment is for a lane before that, at that
// lane's coefficient, rounded down.

import { formatAmount, hundredths, lastPlayableLane, winnings } from "./money.js";
import { paytableOf } from "./verify.js";

const LARGEST_AMOUNT = 2n ** 53n - 1n;
const MOST_DECIMALS = 4;
const PAID = new Set(["win", "cashout", "deadline"]);

/** The reasons for which a round ends. */
export const END_REASONS = new Set([...PAID, "hazard", "void", "cancelled", "refused"]);
/** The checks of this part, in their order. */
export const END_CHECKS = ["stake_is_allowed", "end_follows_from_road", "coefficient_matches", "payout_matches"];

// The minor units of an amount in its one spelling, or null.
function exactAmount(text, decimalPlaces) {
  const parts = /^(0|[1-9]\d*)(?:\.(\d+))?$/.exec(text);
  const fraction = parts?.[2] ?? "";
  if (!parts || fraction.length > decimalPlaces) return null;
  const minor = BigInt(parts[1] + fraction.padEnd(decimalPlaces, "0"));
  return minor <= LARGEST_AMOUNT ? minor : null;
}

/** Whether a text is an amount by its form alone: how many decimals it may have is for its currency to say. */
export function isAmount(text) {
  return exactAmount(text, MOST_DECIMALS) !== null;
}

/** Whether a text is a coefficient by its form. */
export function isCoefficient(text) {
  return exactAmount(text, 2) !== null;
}

/** Whether stakes can be checked under the currencies of a configuration document. */
export function canReadCurrencies(currencies) {
  return Array.isArray(currencies) && currencies.every((rules) => {
    const amounts = [rules.minBetAmount, rules.maxBetAmount, rules.maxWinAmount, rules.betStep];
    const isRead = (text) => typeof text === "string" && exactAmount(text, rules.decimalPlaces) !== null;
    return typeof rules.code === "string" && Number.isInteger(rules.decimalPlaces) && rules.decimalPlaces >= 0
      && amounts.every(isRead) && exactAmount(rules.betStep, rules.decimalPlaces) > 0n;
  });
}

/** Checks stake, end, coefficient and payment of a claim; `columns` is the road that its seeds give. */
export function checkEnd(claim, columns, configuration, add, miss) {
  const rules = configuration.currencies.find(({ code }) => code === claim.currency) ?? null;
  const paytable = paytableOf(configuration, claim.difficulty);
  const stake = checkStake(claim, rules, add, miss);
  const ended = checkReason(claim, columns, paytable, stake, rules, add, miss);
  checkCoefficient(claim, ended, add, miss);
  checkPayment(claim, ended, rules, add, miss);
}

function checkStake(claim, rules, add, miss) {
  const name = "stake_is_allowed";
  if (claim.currency === null) return void miss(name, "the claim does not have both betAmount and currency");
  if (!rules) return void add(name, false, "the configuration does not have the currency");
  if (claim.betAmount === null) return void miss(name, "the claim does not have both betAmount and currency");
  const amount = (text) => exactAmount(text, rules.decimalPlaces);
  const stake = amount(claim.betAmount);
  const isAllowed = stake !== null && stake >= amount(rules.minBetAmount) && stake <= amount(rules.maxBetAmount)
    && stake % amount(rules.betStep) === 0n;
  add(name, isAllowed, `from ${rules.minBetAmount} to ${rules.maxBetAmount} in steps of ${rules.betStep} ${rules.code}; the record says ${claim.betAmount}`);
  return isAllowed ? stake : undefined;
}

// What the road gives for the claimed end: { coefficient, payout }, or undefined.
function checkReason(claim, columns, paytable, stake, rules, add, miss) {
  const name = "end_follows_from_road";
  const { endReason, lastLane } = claim;
  if (endReason === null || lastLane === null) return void miss(name, "the claim does not have both endReason and lastLane");
  const firstHazard = columns[0] ?? Infinity;
  const { coefficients } = paytable;
  const anyStake = { coefficients, firstHazard, maxLane: null };
  if (stake === undefined) {
    if (!isAllowed(endReason, lastLane, anyStake)) return void add(name, false, `no stake allows "${endReason}" on column ${lastLane} of this road`);
    return void miss(name, "without an allowed stake the last playable lane is not known");
  }
  const maxLane = lastPlayableLane(stake, coefficients, exactAmount(rules.maxWinAmount, rules.decimalPlaces));
  const ok = maxLane >= 0 && isAllowed(endReason, lastLane, { coefficients, firstHazard, maxLane });
  const first = columns.length > 0 ? `the first hazard of these seeds is on column ${firstHazard}` : "these seeds have no hazard";
  add(name, ok, `"${endReason}" on column ${lastLane}; ${first}`);
  if (!ok) return undefined;
  if (!PAID.has(endReason)) return { coefficient: "0.00", payout: 0n };
  return { coefficient: coefficients[lastLane], payout: winnings(stake, coefficients[lastLane]) };
}

function isAllowed(endReason, lane, { coefficients, firstHazard, maxLane }) {
  const last = maxLane ?? coefficients.length - 1;
  const canStand = lane >= 0 && lane <= last && lane < firstHazard;
  switch (endReason) {
    case "hazard": return lane === firstHazard && lane <= last;
    case "win": return canStand && (maxLane === null || lane === maxLane);
    case "cashout": case "deadline": return canStand;
    case "void": return lane === -1 || canStand;
    default: return lane === -1;
  }
}

function checkCoefficient(claim, ended, add, miss) {
  const name = "coefficient_matches";
  if (claim.coeff === null) return miss(name, "the claim has no coeff");
  if (!ended) return miss(name, "without a checked end no coefficient is due");
  add(name, exactAmount(claim.coeff, 2) === hundredths(ended.coefficient), `the paytable gives ${ended.coefficient}; the record says ${claim.coeff}`);
}

function checkPayment(claim, ended, rules, add, miss) {
  const name = "payout_matches";
  if (claim.winAmount === null) return miss(name, "the claim has no winAmount");
  if (!ended) return miss(name, "without a checked stake and end no payment is due");
  const due = formatAmount(ended.payout, rules.decimalPlaces);
  add(name, exactAmount(claim.winAmount, rules.decimalPlaces) === ended.payout, `exactly ${due} is due; the record says ${claim.winAmount}`);
}
