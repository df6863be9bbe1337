// The end of a round in large letters over the road: what was paid or lost, and a way to check it.

import { button, element } from "./elements.js";
import { readableAmount } from "./money.js";

const box = document.querySelector("#result");

const ENDS = {
  win: { tone: "good", headline: "You crossed the road!" },
  cashout: { tone: "good", headline: "Cashed out" },
  deadline: { tone: "good", headline: "Time was up: paid where you stood" },
  hazard: { tone: "bad", headline: "Hit!" },
  void: { tone: "calm", headline: "Round voided: your stake is returned" },
  cancelled: { tone: "calm", headline: "Bet cancelled: your stake is returned" },
};

/** Shows how a round ended and returns the same in one sentence for screen readers. */
export function showResult(round, onCheck) {
  const end = ENDS[round.endReason] ?? { tone: "calm", headline: "The round has ended" };
  const lane = round.lineNumber >= 0 ? `lane ${round.lineNumber + 1}` : "";
  const amount = amountText(round, end.tone);
  const detail = [lane, end.tone === "good" && round.coeff ? `${round.coeff}×` : ""].filter(Boolean).join(" · ");
  box.className = `result result-${end.tone}`;
  box.replaceChildren(...[
    element("p", "result-headline", end.headline),
    amount ? element("p", "result-amount", amount) : null,
    element("p", "result-detail", detail),
    button("button button-small button-quiet", "Check this round", onCheck),
  ].filter(Boolean));
  box.hidden = false;
  return `${end.headline} ${amount} ${detail}`;
}

/** Takes the result away. */
export function hideResult() {
  box.hidden = true;
}

function amountText(round, tone) {
  if (tone === "good") return `+${readableAmount(round.winAmount)} ${round.currency}`;
  return tone === "bad" ? `−${readableAmount(round.betAmount)} ${round.currency}` : "";
}
