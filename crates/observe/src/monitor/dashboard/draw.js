// Elements and curves. Text of a configuration is inserted as text only, never as markup.

const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Sets a text only when it is another one: what reads the page aloud is not disturbed. */
function say(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

/** A number whose unit is smaller. */
function sayBig(element, text) {
  if (!element || element.dataset.said === text) return;
  element.dataset.said = text;
  const [, number, unit] = /^(\S+?)([A-Za-z/% ].*)?$/s.exec(text) ?? [null, text, ""];
  element.replaceChildren(number, ...(unit ? [el("span", { class: "unit" }, unit.trim() === "%" ? " %" : unit)] : []));
}

function setState(element, [state, word]) {
  if (!element) return;
  element.dataset.state = state;
  say(element, word);
}

/** Points with gaps as the path of a line, and of the area below it. */
function paths(points, floor) {
  let [line, area, run] = ["", "", []];
  const close = () => {
    if (run.length === 1) run.push([run[0][0] + 0.5, run[0][1]]);
    if (run.length) {
      const way = run.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
      line += `M${way}`;
      area += `M${run[0][0].toFixed(1)} ${floor}L${way}L${run[run.length - 1][0].toFixed(1)} ${floor}Z`;
    }
    run = [];
  };
  for (const point of points) point === null ? close() : run.push(point);
  close();
  return { line, area };
}

/** A curve without axes, of the last ten minutes. */
function sparkline(box, values) {
  const shown = (values ?? []).slice(-120);
  const real = shown.filter(isNumber);
  const of = `${hour.next} ${shown.length}`;
  if (!box || box.dataset.of === of) return;
  box.dataset.of = of;
  if (real.length < 2) return box.replaceChildren();
  const top = Math.max(...real, 1e-9);
  const points = shown.map((v, at) => (isNumber(v) ? [(at / (shown.length - 1)) * 100, 29 - (v / top) * 27] : null));
  const { line, area } = paths(points, 30);
  const drawn = draw("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("path", { class: "area", d: area }), draw("path", { d: line }));
  box.replaceChildren(drawn);
}

/** A round number not below `n`, so that axes have round marks. */
function roundUp(n) {
  const power = 10 ** Math.floor(Math.log10(Math.max(n, 1e-6)));
  return power * [1, 2, 4, 5, 10].find((step) => step * power >= n * 0.999);
}

/** Curves over the last hour with axes, a pointer, and arrow keys; `whole` where there are no parts of what is counted. */
class Chart {
  constructor(title, word, whole = false) {
    [this.title, this.word, this.whole, this.at, this.lines, this.times] = [title, word, whole, null, [], []];
    this.plot = el("div", { class: "plot", tabindex: "0", role: "img" });
    this.legend = el("ul", { class: "legend" });
    this.tip = el("div", { class: "tip", hidden: "" });
    this.spoken = el("p", { class: "unseen", "aria-live": "polite" });
    this.box = el("section", { class: "chart" }, el("h3", {}, title), this.legend, this.plot, this.tip, this.spoken);
    this.plot.addEventListener("pointermove", (event) => {
      const area = this.plot.getBoundingClientRect();
      this.point(this.left + ((event.clientX - area.left - this.left) || 0));
    });
    this.plot.addEventListener("pointerleave", () => this.choose(null));
    this.plot.addEventListener("blur", () => this.choose(null));
    this.plot.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.render()).observe(this.plot);
  }

  show(times, lines) {
    [this.times, this.lines] = [times, lines];
    if (this.at !== null) this.at = Math.min(this.at, times.length - 1);
    this.render();
  }

  render() {
    const [width, height] = [this.plot.clientWidth, this.plot.clientHeight];
    if (!width) return;
    const { times, lines } = this;
    if (!times.length) return this.plot.replaceChildren(draw("svg", {}));
    const all = lines.flatMap((line) => line.values.filter(isNumber));
    const top = roundUp(Math.max(...all, 1));
    [this.left, this.right, this.bottom] = [46, width - 8, height - 20];
    const end = times[times.length - 1];
    // The curves of a new agent are not squeezed into the last part.
    this.from = Math.max(end - 3_600_000, Math.min(times[0], end - 300_000));
    this.x = (t) => this.left + ((t - this.from) / Math.max(end - this.from, 1)) * (this.right - this.left);
    this.y = (v) => this.bottom - (v / top) * (this.bottom - 8);
    const parts = [];
    for (const part of [0, 0.5, 1]) {
      if (this.whole && (top * part) % 1 !== 0) continue;
      const y = Math.round(this.y(top * part)) + 0.5;
      parts.push(draw("line", { class: "grid", x1: this.left, x2: this.right, y1: y, y2: y }),
        draw("text", { x: this.left - 8, y: y + 4, "text-anchor": "end" }, this.word(top * part)));
    }
    const step = [60_000, 120_000, 300_000].find((ms) => (end - this.from) / ms <= 6) ?? 900_000;
    for (let t = Math.ceil(this.from / step) * step; t <= end; t += step) {
      parts.push(draw("text", { x: this.x(t), y: height - 3, "text-anchor": "middle" }, clock.format(t)));
    }
    lines.forEach((line, n) => {
      const points = line.values.map((v, at) => (isNumber(v) ? [this.x(times[at]), this.y(v)] : null));
      const { line: way, area } = paths(points, this.bottom);
      if (n === 0 && lines.length <= 2) parts.push(draw("path", { class: `fillarea t${line.tone}`, d: area }));
      parts.push(draw("path", { class: `line t${line.tone} s${n % 5}`, d: way }));
    });
    this.cursor = draw("g", {});
    this.plot.replaceChildren(draw("svg", { "aria-hidden": "true" }, ...parts, this.cursor));
    this.describe();
    this.choose(this.at);
  }

  describe() {
    const words = this.lines.map((line) => {
      const real = line.values.map((v, at) => [v, at]).filter(([v]) => isNumber(v));
      if (!real.length) return `${line.name}: nothing yet`;
      const [most, at] = real.reduce((a, b) => (b[0] > a[0] ? b : a));
      return `${line.name}: now ${this.word(real[real.length - 1][0])}, highest ${this.word(most)} at ${clock.format(this.times[at])}`;
    });
    this.plot.setAttribute("aria-label", `${this.title}, last hour. ${words.join(". ")}. Arrow keys read single moments.`);
    const names = this.lines.map((line) => line.name).join("\n");
    if (this.legend.dataset.of === names) return;
    this.legend.dataset.of = names;
    const item = (line, n) => el("li", { class: `t${line.tone} s${n % 5}` },
      draw("svg", { "aria-hidden": "true", viewBox: "0 0 22 8" }, draw("path", { class: "swatch", d: "M0 4H22" })), line.name);
    this.legend.replaceChildren(...this.lines.map(item));
  }

  point(x) {
    const t = this.from + ((x - this.left) / Math.max(this.right - this.left, 1)) * (this.times[this.times.length - 1] - this.from);
    let nearest = 0;
    this.times.forEach((time, at) => Math.abs(time - t) < Math.abs(this.times[nearest] - t) && (nearest = at));
    this.choose(this.times.length ? nearest : null);
  }

  key(event) {
    const last = this.times.length - 1;
    const to = { ArrowLeft: (this.at ?? last + 1) - 1, ArrowRight: (this.at ?? last) + 1, Home: 0, End: last, Escape: null }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.choose(to === null ? null : Math.max(0, Math.min(last, to)));
    say(this.spoken, this.at === null ? "" : this.tip.textContent);
  }

  choose(at) {
    this.at = at;
    this.tip.hidden = at === null;
    if (!this.cursor) return;
    if (at === null) return this.cursor.replaceChildren();
    const x = this.x(this.times[at]);
    const dots = this.lines.filter((line) => isNumber(line.values[at])).map((line) =>
      draw("circle", { class: `cross-dot t${line.tone}`, cx: x, cy: this.y(line.values[at]), r: 3 }));
    this.cursor.replaceChildren(draw("line", { class: "cross", x1: x, x2: x, y1: 4, y2: this.bottom }), ...dots);
    const words = this.lines.map((line) => `${line.name} ${this.word(line.values[at])}`);
    say(this.tip, `${exactClock.format(this.times[at])}  ${words.join("  ·  ")}`);
    const left = Math.min(Math.max(x - this.tip.offsetWidth / 2, 0), this.plot.clientWidth - this.tip.offsetWidth);
    this.tip.style.left = `${Math.max(left, 0)}px`;
    this.tip.style.top = `${this.plot.offsetTop - 6}px`;
  }
}
