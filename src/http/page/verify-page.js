// The verifier page: fills the form from a pasted round (or from one handed over in the address after #, which never
// leaves the browser), checks it, and shows each check. The stored paytable and the day's published anchor are fetched
// from this site when the round names them; without them the rest is checked all the same.

import { claimFrom, claimOfForm, readDocument, shownText } from "./claim.js";
import { element, loadDrawings } from "./elements.js";
import { gatherEvidence } from "./evidence.js";
import { checkRound } from "./proof.js";
import { proofView } from "./proof-view.js";

const FIELDS = ["serverSeed", "hashedServerSeed", "userSeed", "nonce", "hazardSeed", "difficulty", "hazardEpoch", "anchor", "collisionColumns"];

const form = document.querySelector("#verify-form");
const paste = document.querySelector("#paste");
const result = document.querySelector("#verify-result");
// What was pasted, what of it could not be read, and the fields as it filled them.
let pasted = null;
let unreadable = null;
let shown = {};

form.addEventListener("submit", (event) => {
  event.preventDefault();
  verify();
});
form.addEventListener("reset", () => {
  forget();
  result.replaceChildren();
});
paste.addEventListener("input", () => take(paste.value));

loadDrawings();
if (location.hash.length > 1) {
  try {
    paste.value = JSON.stringify(JSON.parse(decodeURIComponent(location.hash.slice(1))), null, 1);
  } catch {
    paste.value = location.hash.slice(1);
  }
  take(paste.value);
}

// What is pasted fills the fields and is verified at once; a field that is changed afterwards counts as changed.
function take(text) {
  forget();
  if (text.trim() === "") return undefined;
  const { document: read, problem } = readDocument(text);
  if (problem) {
    unreadable = problem;
    return complain(problem);
  }
  pasted = read;
  const claim = claimFrom(pasted);
  for (const field of FIELDS) form.elements[field].value = shownText(claim[field]);
  shown = fields();
  return verify();
}

function forget() {
  pasted = null;
  unreadable = null;
  shown = {};
}

// The fields as they stand; the browser may show a text differently from how it was pasted.
function fields() {
  return Object.fromEntries(FIELDS.map((field) => [field, form.elements[field].value]));
}

async function verify() {
  if (unreadable) return complain(unreadable);
  const claim = claimOfForm(pasted, shown, fields());
  if (claim.refused === null && claim.serverSeed === null) {
    return complain("The server seed is missing: it is revealed when the round has ended.");
  }
  const checked = checkRound(claim, await gatherEvidence(claim, claim.record?.id));
  return result.replaceChildren(proofView(checked, claim, checked.lanes));
}

function complain(text) {
  result.replaceChildren(element("p", "verdict verdict-bad", text));
}
