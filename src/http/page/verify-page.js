// The verifier page: fills the form from a pasted round (or from one handed over in the address after #, which never
// leaves the browser), checks it, and shows each check. The stored paytable and the day's published anchor are fetched
// from this site when the round names them; without them the rest is checked all the same.

import { element, loadDrawings } from "./elements.js";
import { gatherEvidence } from "./evidence.js";
import { checkRound, claimFrom, readDocument } from "./proof.js";
import { proofView } from "./proof-view.js";

const FIELDS = ["serverSeed", "hashedServerSeed", "userSeed", "nonce", "hazardSeed", "difficulty", "hazardEpoch", "anchor"];

const form = document.querySelector("#verify-form");
const paste = document.querySelector("#paste");
const result = document.querySelector("#verify-result");
let pasted = null;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  verify();
});
form.addEventListener("reset", () => {
  pasted = null;
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
  pasted = null;
  if (text.trim() === "") return;
  const { document: read, problem } = readDocument(text);
  if (problem) return complain(problem);
  pasted = read;
  const claim = claimFrom(pasted);
  for (const field of FIELDS) form.elements[field].value = claim[field] ?? "";
  const { collisionColumns } = claim;
  form.elements.collisionColumns.value = Array.isArray(collisionColumns) ? collisionColumns.join(", ") : "";
  verify();
}

async function verify() {
  const claim = claimOfForm();
  if (!claim) return;
  const checked = checkRound(claim, await gatherEvidence(claim, pasted?.id));
  result.replaceChildren(proofView(checked, claim, checked.lanes));
}

function claimOfForm() {
  const claim = claimFrom(pasted ?? {});
  // A field as it was pasted keeps its type, so that what is not a text is refused; a changed one is the text that was typed.
  for (const field of FIELDS) {
    const typed = form.elements[field].value.trim();
    if (typed !== String(claim[field] ?? "")) claim[field] = typed === "" ? null : typed;
  }
  const columns = form.elements.collisionColumns.value.trim();
  const isMentioned = columns !== "" || Array.isArray(claim.collisionColumns);
  claim.collisionColumns = isMentioned ? columns.split(/[\s,]+/).filter(Boolean).map(Number) : null;
  if (!claim.serverSeed) {
    complain("The server seed is missing: it is revealed when the round has ended.");
    return null;
  }
  return claim;
}

function complain(text) {
  result.replaceChildren(element("p", "verdict verdict-bad", text));
}
