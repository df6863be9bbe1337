// How a player gets here: a casino opens the game with a one-time token in the address. Without one, or when the
// session has ended, a card says so; on a developer's own machine it also says where to find such an address.

import { LostAnswer } from "./api.js";

const LOCAL_HOSTS = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** What the launch url carries, or null when the page was opened without a token. */
export function launchParameters() {
  const query = new URLSearchParams(location.search);
  const authToken = query.get("authToken");
  if (!authToken) return null;
  return {
    authToken,
    operatorId: query.get("operatorId") ?? "",
    currency: query.get("currency") ?? "",
    gameMode: query.get("gameMode") ?? "",
  };
}

/** Shows the card; `failure` is what kept the game from opening, if anything did. */
export function showLaunchCard(failure) {
  document.body.classList.add("is-signed-out");
  document.querySelector("#launch-card").hidden = false;
  document.querySelector("#launch-local").hidden = !LOCAL_HOSTS.has(location.hostname);
  if (failure) document.querySelector("#launch-title").textContent = titleOf(failure);
}

function titleOf(failure) {
  if (failure instanceof LostAnswer) return "No answer from the server: reload this page to try again";
  return failure.status === 401 ? "Your session has ended, or its link was used before" : "The game could not be opened";
}
