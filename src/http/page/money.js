// Amounts as the player sees them. They come and go as texts ("10.00") and are whole minor units (BigInt) in between:
// no amount is ever a floating-point number, because 0.1 + 0.2 is not 0.3 and this is somebody's money.

/** The minor units of a plain amount text, or null when it is not one or has too many decimals. */
export function parseAmount(text, decimalPlaces) {
  const parts = /^(\d{1,12})(?:\.(\d*))?$/.exec(String(text).trim());
  if (!parts) return null;
  const fraction = (parts[2] ?? "").replace(/0+$/, "");
  if (fraction.length > decimalPlaces) return null;
  return BigInt(parts[1] + fraction.padEnd(decimalPlaces, "0"));
}

/** Minor units as the text that the server takes: "10.00". */
export function formatAmount(minor, decimalPlaces) {
  const digits = minor.toString().padStart(decimalPlaces + 1, "0");
  if (decimalPlaces === 0) return digits;
  return `${digits.slice(0, -decimalPlaces)}.${digits.slice(-decimalPlaces)}`;
}

/** An amount text with its thousands set apart, for reading: "12 345.00". */
export function readableAmount(text) {
  const [whole, fraction] = String(text).split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, "\u202f");
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

/** A coefficient text ("1.01") in hundredths. */
export function hundredths(coefficient) {
  const minor = parseAmount(coefficient, 2);
  if (minor === null) throw new RangeError(`"${coefficient}" is not a coefficient`);
  return minor;
}

/** What stands on a lane: floor(stake * coefficient), in minor units. */
export function winnings(stakeMinor, coefficient) {
  return (stakeMinor * hundredths(coefficient)) / 100n;
}

/** The last lane whose payout the maximum win does not cut, or -1: reaching it cashes out by itself. */
export function lastPlayableLane(stakeMinor, coefficients, maxWinMinor) {
  const beyond = coefficients.findIndex((coefficient) => stakeMinor * hundredths(coefficient) > maxWinMinor * 100n);
  return (beyond === -1 ? coefficients.length : beyond) - 1;
}
