// Shows a checked round: the verdict in one line, every check with its mark and reason, and the shell line with which
// anyone can check the commitment without this page.

import { element, sprite } from "./elements.js";
import { shellLine } from "./verify.js";

const MARKS = new Map([
  [true, { name: "tick", className: "check-ok", spoken: "ok" }],
  [false, { name: "cross", className: "check-bad", spoken: "does not match" }],
  [null, { name: "dash", className: "check-open", spoken: "not checked" }],
]);

// A check's name as a reader takes it in: "payout_matches" is "Payout matches".
function titleOf(name) {
  return (name.charAt(0).toUpperCase() + name.slice(1)).replaceAll("_", " ");
}

/** The result of checkRound as an element. */
export function proofView(result, claim, lanes) {
  const open = result.unchecked.map(({ name, why }) => ({ name, ok: null, detail: why }));
  const view = element("div", "proof", verdict(result), element("ul", "checks", ...[...result.checks, ...open].map(checkLine)));
  if (result.road) {
    if (result.road.collisionColumns) view.append(strip(result.road.collisionColumns, lanes, claim.lastLane));
    view.append(shell(claim), roundKeyLine(result.road.roundKey));
  }
  return view;
}

function verdict({ verdict: reached, firstMismatch }) {
  const [tone, mark, line] = {
    valid: ["ok", "tick", "Valid: this round is what its seeds say."],
    invalid: ["bad", "cross", `Invalid: ${titleOf(firstMismatch?.name ?? "").toLowerCase()}.`],
    incomplete: ["open", "dash", "Incomplete: nothing is wrong, but not everything could be checked."],
  }[reached];
  const box = element("p", `verdict verdict-${tone}`, sprite(mark), element("strong", "", line));
  box.setAttribute("role", "status");
  return box;
}

function checkLine({ name, ok, detail }) {
  const mark = MARKS.get(ok);
  return element("li", `check ${mark.className}`, sprite(mark.name),
    element("span", "check-name", titleOf(name), element("span", "spoken", `: ${mark.spoken}`)), element("span", "check-detail", detail));
}

// The whole road at a glance: one cell per lane, hazards marked, and the lane on which the round ended.
function strip(hazardColumns, lanes, lastLane) {
  const hazards = new Set(hazardColumns);
  const cells = Array.from({ length: lanes }, (_, column) => {
    const isEnd = lastLane === column;
    return element("span", `cell${hazards.has(column) ? " cell-hazard" : ""}${isEnd ? " cell-end" : ""}`, String(column));
  });
  const row = element("div", "strip", ...cells);
  row.setAttribute("role", "img");
  row.setAttribute("aria-label", `Hazards on columns ${hazardColumns.join(", ") || "none"}, counted from 0`);
  const legend = "Columns counted from 0. Red: a hazard waited there. Outlined: where the round ended.";
  return element("div", "strip-frame", row, element("p", "fine", legend));
}

function shell(claim) {
  return element("div", "shell", element("p", "fine", "The same without this page, in any shell:"),
    element("code", "hash", shellLine(claim.serverSeed)),
    element("p", "fine", "It must print the commitment:"), element("code", "hash", claim.hashedServerSeed || "—"));
}

function roundKeyLine(roundKey) {
  return element("p", "fine", "Round key ", element("code", "hash", roundKey));
}
