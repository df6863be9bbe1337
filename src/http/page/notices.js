// What the page says in words: a stack of notices for things that went wrong or deserve a remark, and a quiet live
// region that tells screen readers what sighted players see on the road. Every error code has one friendly sentence
// here; an unknown one shows what the server said.

import { LostAnswer, Problem } from "./api.js";

const NOTICE_STAYS_MS = { info: 5_000, good: 5_000, bad: 12_000 };
const MOST_NOTICES = 3;

const SENTENCES = {
  invalid_bet_amount: "That stake is not possible",
  insufficient_funds: "Your balance is too low for this stake",
  account_suspended: "Your account is suspended: you can finish an open round, but not start one",
  active_session_exists: "A round is already open",
  stale_hazard_epoch: "The road has just changed: nothing was taken, play again",
  stale_commitment: "The seeds have moved on: nothing was taken. Look at the new commitment and play again",
  bet_in_progress: "A bet is still on its way",
  rate_limited: "That was a little too fast",
  agent_rejected: "The casino refused the bet",
  unavailable: "The game is catching its breath: try again in a moment",
  game_disabled: "The game is closed for the moment",
  bet_unconfirmed: "The casino did not answer: if the stake was taken, it is being returned",
  invalid_user_seed: "A seed has 1 to 64 characters: letters, digits, dot, dash or underscore",
};

const stack = document.querySelector("#notices");
const politeVoice = document.querySelector("#announcer");

/** Says something to screen readers alone. */
export function announce(text) {
  politeVoice.textContent = text;
}

/** Shows a notice; `kind` is "info", "good" or "bad". */
export function notice(kind, headline, detail = "") {
  const box = document.createElement("div");
  box.className = `notice notice-${kind}`;
  box.append(line("strong", headline), ...(detail ? [line("span", detail)] : []), closeButton(box));
  stack.append(box);
  while (stack.children.length > MOST_NOTICES) stack.firstElementChild.remove();
  setTimeout(() => box.remove(), NOTICE_STAYS_MS[kind]);
}

/** Shows a failed call in a friendly way, with what support would ask for. */
export function noticeFailure(failure) {
  if (failure instanceof Problem) {
    const headline = SENTENCES[failure.code] ?? (failure.title || "That did not work");
    const reference = [failure.code, failure.requestId && `request ${failure.requestId}`].filter(Boolean).join(" · ");
    notice("bad", headline, [failure.message, reference].filter(Boolean).join(" — "));
  } else if (failure instanceof LostAnswer) {
    notice("bad", "No answer from the server", failure.message);
  } else {
    notice("bad", "Something on this page went wrong", failure.message);
    throw failure;
  }
}

function line(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

function closeButton(box) {
  const button = line("button", "×");
  button.type = "button";
  button.className = "notice-close";
  button.setAttribute("aria-label", "Close this message");
  button.addEventListener("click", () => box.remove());
  return button;
}
