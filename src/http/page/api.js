// The one place that talks to the server. A call ends in one of three ways, and callers treat them differently: an
// answer, a Problem (the server said no, and why), or a LostAnswer (nobody knows whether it happened). A lost answer is
// repeated with exactly the same request: bets carry an Idempotency-Key, and steps and cash-outs name the round and the
// lane, so a repeat returns what the first one did.

const SESSION_KEY = "faircross.session";
// The launch link from which the session came. It is used up, so that nobody can do anything with it.
const LINK_KEY = "faircross.launchLink";
const ANSWER_TIMEOUT_MS = 15_000;
const REPEAT_PATIENCE_MS = 25_000;
const FIRST_REPEAT_AFTER_MS = 350;
const LONGEST_REPEAT_AFTER_MS = 4_000;

// Answers of the server itself with a 5xx status that are final; any other 5xx may come from something in between.
const FINAL_SERVER_CODES = new Set(["agent_rejected", "bet_unconfirmed", "game_disabled"]);

/** The server refused; `code` is the stable name of the reason. */
export class Problem extends Error {
  constructor(status, document, retryAfterMs) {
    super(document.detail || document.title || `The server answered ${status}`);
    this.status = status;
    this.code = document.code ?? "";
    this.title = document.title ?? "";
    this.requestId = document.requestId ?? "";
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether asking again with the same request is right: busy, or perhaps never reached the game. */
  get isWorthRepeating() {
    if (["bet_in_progress", "rate_limited", "request_timeout"].includes(this.code)) return true;
    return this.status >= 500 && !FINAL_SERVER_CODES.has(this.code);
  }
}

/** No answer came, after all repeats; what was asked may have happened. */
export class LostAnswer extends Error {}

/** Whether this browser tab holds a session. */
export function isSignedIn() {
  return sessionStorage.getItem(SESSION_KEY) !== null;
}

/** Whether this tab's session came from this very launch link: opened again, it is used up, and the session is as good as before. */
export function cameFrom(link) {
  return isSignedIn() && sessionStorage.getItem(LINK_KEY) === nameOf(link);
}

function nameOf({ authToken, operatorId }) {
  return `${operatorId} ${authToken}`;
}

/** Forgets the session of this tab. */
export function signOut() {
  sessionStorage.removeItem(SESSION_KEY);
  sessionStorage.removeItem(LINK_KEY);
}

/** Exchanges the launch url's one-time token for a session. */
export async function signIn(link) {
  const { authToken, operatorId, currency, gameMode } = link;
  const body = { auth_token: authToken, operator: operatorId, currency, game_mode: gameMode };
  const answer = await callOnce("POST", "/api/auth", { body });
  sessionStorage.setItem(SESSION_KEY, answer.result);
  sessionStorage.setItem(LINK_KEY, nameOf(link));
}

/** Calls until there is an answer or patience runs out; a Problem that is final is thrown at once. */
export async function call(method, path, options = {}) {
  const giveUpAt = Date.now() + (options.patienceMs ?? REPEAT_PATIENCE_MS);
  for (let repeatAfterMs = FIRST_REPEAT_AFTER_MS; ; repeatAfterMs = Math.min(repeatAfterMs * 2, LONGEST_REPEAT_AFTER_MS)) {
    try {
      return await callOnce(method, path, options);
    } catch (failure) {
      if (failure instanceof Problem && !failure.isWorthRepeating) throw failure;
      const waitMs = Math.max(repeatAfterMs, failure.retryAfterMs ?? 0);
      if (Date.now() + waitMs > giveUpAt) throw lost(failure);
      options.onRepeat?.(failure);
      await pause(waitMs);
    }
  }
}

function lost(failure) {
  return failure instanceof LostAnswer ? failure : new LostAnswer(failure.message, { cause: failure });
}

/** Fetches a document as its exact bytes. */
export async function bytesOf(path) {
  const response = await send("GET", path, {});
  if (!response.ok) throw await problemOf(response);
  return new Uint8Array(await response.arrayBuffer());
}

async function callOnce(method, path, options) {
  const response = await send(method, path, options);
  if (!response.ok) throw await problemOf(response);
  options.onDate?.(Date.parse(response.headers.get("Date") ?? ""));
  try {
    return await response.json();
  } catch (unreadable) {
    throw new LostAnswer("The answer broke off", { cause: unreadable });
  }
}

async function send(method, path, { body, headers = {} }) {
  const request = {
    method,
    headers: { Accept: "application/json", ...headers },
    cache: "no-store",
    signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
  };
  const session = sessionStorage.getItem(SESSION_KEY);
  if (session) request.headers.Authorization = `Bearer ${session}`;
  if (body) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  try {
    return await fetch(path, request);
  } catch (unreachable) {
    throw new LostAnswer("The server cannot be reached", { cause: unreachable });
  }
}

async function problemOf(response) {
  const seconds = Number(response.headers.get("Retry-After") ?? NaN);
  const document = await response.json().catch(() => ({}));
  return new Problem(response.status, document, Number.isFinite(seconds) ? seconds * 1000 : 0);
}

/** A pause of the given length. */
export function pause(milliseconds) {
  return new Promise((resolve) => { setTimeout(resolve, milliseconds); });
}
