// Stake, difficulty and the buttons below the road. Only the moves that are possible are on offer. Each change of the
// buttons is followed by a short moment in which presses are ignored: "Play", "Go" and "Cash out" appear in the same
// place, and a double click meant for one of them must not become a move with another.

import { button, element } from "./elements.js";
import { formatAmount, parseAmount, readableAmount } from "./money.js";

const DIFFICULTY_NAMES = { EASY: "Easy", MEDIUM: "Medium", HARD: "Hard", DAREDEVIL: "Daredevil" };
const GUARD_MS = 450;

const ui = {
  form: document.querySelector("#controls"),
  stake: document.querySelector("#stake"),
  stakeNote: document.querySelector("#stake-note"),
  currency: document.querySelector("#stake-currency"),
  less: document.querySelector("#stake-less"),
  more: document.querySelector("#stake-more"),
  presets: document.querySelector("#presets"),
  choices: document.querySelector("#difficulties"),
  settings: document.querySelectorAll("#controls fieldset"),
  play: document.querySelector("#play"),
  playDetail: document.querySelector("#play-detail"),
  playLabel: document.querySelector("#play-label"),
  cashOut: document.querySelector("#cash-out"),
  cashOutDetail: document.querySelector("#cash-out-detail"),
  go: document.querySelector("#go"),
  goDetail: document.querySelector("#go-detail"),
  busy: document.querySelector("#busy"),
};

export class Controls {
  #rules = null;
  #isBusy = true;
  #guardedUntil = 0;
  #mayCashOut = false;
  #asksAgain = false;

  constructor({ onPlay, onStep, onCashOut, onChange }) {
    this.onChange = onChange;
    ui.form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!ui.play.hidden && this.#mayPress() && this.#stakeIsPossible()) onPlay();
    });
    ui.go.addEventListener("click", () => { if (this.#mayPress()) onStep(); });
    ui.cashOut.addEventListener("click", () => { if (this.#mayPress()) onCashOut(); });
    ui.stake.addEventListener("input", () => this.#stakeChanged());
    ui.stake.addEventListener("change", () => this.#tidyStake());
    ui.less.addEventListener("click", () => this.#nudge(-1));
    ui.more.addEventListener("click", () => this.#nudge(1));
    ui.choices.addEventListener("change", () => onChange());
    document.addEventListener("keydown", (event) => this.#shortcut(event));
  }

  get stake() { return ui.stake.value.trim(); }

  get difficulty() { return ui.form.elements.difficulty.value; }

  get isBusy() { return this.#isBusy; }

  set isBusy(isBusy) {
    this.#isBusy = isBusy;
    if (!isBusy) this.busyText = "";
    this.#enable();
  }

  set busyText(text) { ui.busy.textContent = text; }

  /** Fills in what the game's configuration allows. */
  show(configuration) {
    this.#rules = configuration;
    ui.stake.value = configuration.defaultBetAmount;
    ui.currency.textContent = configuration.currency;
    ui.presets.replaceChildren(...configuration.betPresets.map((amount) => this.#preset(amount)));
    const offered = Object.keys(DIFFICULTY_NAMES).filter((name) => name in configuration.difficulties);
    ui.choices.replaceChildren(...offered.map((name) => choice(name, configuration.difficulties[name])));
    ui.choices.querySelector("input").checked = true;
    this.#stakeChanged();
  }

  /** Sets what an open round was placed with. */
  choose(difficulty, stake) {
    ui.form.elements.difficulty.value = difficulty;
    ui.stake.value = stake;
    this.#stakeChanged();
  }

  /** No round is open: a bet can be placed. */
  rest() {
    this.#offer(false);
    this.isBusy = false;
    this.#stakeChanged(false);
  }

  /** The answer to a bet was lost: the play button asks about that bet until it is known. */
  askAgain() {
    this.#asksAgain = true;
    ui.playLabel.textContent = "Ask again";
    ui.playDetail.textContent = "about the bet without an answer";
    this.#enable();
  }

  /** No bet is without an answer. */
  askNothing() {
    this.#asksAgain = false;
    ui.playLabel.textContent = "Play";
    this.#stakeChanged(false);
  }

  /** A round is open: the next lane, and from the first safe lane on a cash-out, are on offer. */
  playing({ standing, currency, nextLane, nextCoefficient }) {
    this.#mayCashOut = standing !== null;
    ui.cashOutDetail.textContent = standing === null ? "after the first lane" : `${readableAmount(standing)} ${currency}`;
    ui.goDetail.textContent = nextCoefficient === null ? "" : `lane ${nextLane} · ${nextCoefficient}×`;
    this.#offer(true);
  }

  #offer(isPlaying) {
    const changes = ui.play.hidden !== isPlaying;
    const hadFocus = [ui.play, ui.go, ui.cashOut].includes(document.activeElement);
    ui.play.hidden = isPlaying;
    ui.go.hidden = !isPlaying;
    ui.cashOut.hidden = !isPlaying;
    if (changes) this.#guardedUntil = performance.now() + GUARD_MS;
    this.#enable();
    if (changes && hadFocus) (isPlaying ? ui.go : ui.play).focus();
  }

  // Buttons stay focusable while an answer is out (aria-disabled), so that the keyboard does not lose its place.
  #enable() {
    const isPlaying = ui.play.hidden;
    ui.form.classList.toggle("is-busy", this.#isBusy);
    for (const part of ui.settings) part.disabled = isPlaying || this.#isBusy || this.#asksAgain;
    ui.play.setAttribute("aria-disabled", String(this.#isBusy));
    ui.go.setAttribute("aria-disabled", String(this.#isBusy));
    ui.cashOut.setAttribute("aria-disabled", String(this.#isBusy || !this.#mayCashOut));
    ui.cashOut.disabled = !this.#mayCashOut;
  }

  #mayPress() {
    return !this.#isBusy && performance.now() >= this.#guardedUntil;
  }

  // The right arrow takes the next lane. A key that is held down repeats itself, and is not meant as many moves.
  #shortcut(event) {
    const isMove = event.key === "ArrowRight" || event.key === "Enter" || event.key === " ";
    if (event.repeat && isMove && ui.form.contains(event.target)) return event.preventDefault();
    if (event.key !== "ArrowRight" || event.repeat || ui.go.hidden || event.target.matches("input, textarea")) return undefined;
    event.preventDefault();
    return ui.go.click();
  }

  #preset(amount) {
    return button("chip", readableAmount(amount), () => {
      ui.stake.value = amount;
      this.#stakeChanged();
    });
  }

  // Plus and minus go to the neighbouring preset, or to the limit beyond the last.
  #nudge(direction) {
    const { decimalPlaces, minBetAmount, maxBetAmount, betPresets } = this.#rules;
    const current = parseAmount(this.stake, decimalPlaces) ?? 0n;
    const stops = [minBetAmount, ...betPresets, maxBetAmount].map((text) => parseAmount(text, decimalPlaces));
    stops.sort((left, right) => (left < right ? -1 : 1));
    const next = direction > 0 ? stops.find((stop) => stop > current) : stops.reverse().find((stop) => stop < current);
    if (next === undefined) return;
    ui.stake.value = formatAmount(next, decimalPlaces);
    this.#stakeChanged();
  }

  #tidyStake() {
    const minor = parseAmount(this.stake, this.#rules.decimalPlaces);
    if (minor !== null) ui.stake.value = formatAmount(minor, this.#rules.decimalPlaces);
  }

  #stakeIsPossible() {
    if (this.#asksAgain) return true;
    this.#tidyStake();
    const problem = this.#stakeProblem();
    if (problem) ui.stake.focus();
    return !problem;
  }

  #stakeProblem() {
    const { decimalPlaces, minBetAmount, maxBetAmount, currency } = this.#rules;
    const minor = parseAmount(this.stake, decimalPlaces);
    if (minor === null) return `An amount with at most ${decimalPlaces} decimals`;
    const isInside = minor >= parseAmount(minBetAmount, decimalPlaces) && minor <= parseAmount(maxBetAmount, decimalPlaces);
    return isInside ? "" : `${minBetAmount} to ${maxBetAmount} ${currency}`;
  }

  #stakeChanged(redraw = true) {
    if (!this.#rules) return;
    const problem = this.#stakeProblem();
    ui.stake.setAttribute("aria-invalid", String(problem !== ""));
    const { minBetAmount, maxBetAmount, maxWinAmount } = this.#rules;
    ui.stakeNote.textContent = problem || `${minBetAmount} to ${maxBetAmount} · wins up to ${readableAmount(maxWinAmount)}`;
    ui.stakeNote.classList.toggle("is-problem", problem !== "");
    for (const chip of ui.presets.children) chip.classList.toggle("is-chosen", chip.textContent === readableAmount(this.stake));
    if (!this.#asksAgain) ui.playDetail.textContent = problem ? "choose a stake" : `${readableAmount(this.stake)} ${this.#rules.currency}`;
    if (redraw && !problem) this.onChange();
  }
}

function choice(name, paytable) {
  const input = element("input", "spoken");
  input.type = "radio";
  input.name = "difficulty";
  input.value = name;
  const top = paytable.coefficients.at(-1).split(".")[0];
  const detail = element("span", "choice-detail", `${paytable.lanes} lanes · ${readableAmount(top)}×`);
  return element("label", "choice", input, element("span", "choice-face", element("span", "choice-name", DIFFICULTY_NAMES[name]), detail));
}
