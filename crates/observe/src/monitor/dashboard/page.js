// The page: built once for a flow, then only its texts change.

const ROUND_MS = 2000;
const PATIENCE_MS = 6000;
const view = { cards: new Map(), rows: new Map(), of: "", paused: false, round: 0 };

function card(part, leads) {
  const box = el("article", { class: `card ${part.role}`, "data-key": "" });
  const parts = {
    box,
    dot: el("span", { class: "dot" }),
    big: el("p", { class: "big" }),
    facts: el("ul", { class: "facts" }),
    spark: el("div", { class: "spark" }),
  };
  const name = el("a", { href: `#${rowId(part.key)}` }, part.name);
  box.append(el("div", { class: "head" }, name, el("span", { class: "kind", title: part.type }, part.type.split(".").pop()), parts.dot), parts.big);
  if (part.role === "channel") {
    parts.bar = el("i", {});
    parts.meter = el("div", { class: "meter", role: "meter", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": `Fill of ${part.name}` }, parts.bar);
    box.append(parts.meter);
  }
  box.append(parts.facts, parts.spark);
  if (leads) box.append(el("p", { class: "leads" }, leads));
  for (const [on, off] of [["pointerenter", "pointerleave"], ["focusin", "focusout"]]) {
    box.addEventListener(on, () => light(part.key));
    box.addEventListener(off, () => light(null));
  }
  view.cards.set(part.key, parts);
  return box;
}

const ids = new Map();
/** Rows are found by numbers: a name may hold anything. */
function rowId(key) {
  if (!ids.has(key)) ids.set(key, `row-${ids.size}`);
  return ids.get(key);
}

function column(title, items) {
  const id = `col-${title}`;
  const list = items.length ? el("ul", {}, ...items.map((item) => el("li", {}, item))) : el("p", { class: "empty" }, "None");
  return el("section", { class: "column", "aria-labelledby": id }, el("h3", { id }, title), list);
}

function build(shape) {
  const names = (list) => list.join(", ");
  view.cards.clear();
  const plain = !shape.sources.some((source) => source.passes?.length);
  const sources = shape.sources.map((source) => {
    const box = card(source, source.channels ? `Feeds ${names(source.channels)}` : null);
    if (!source.passes?.length) return el("div", { class: "pair" }, box);
    const steps = source.passes.map((pass) => el("li", {}, pass));
    const pass = el("ol", { class: "pass", "aria-label": `What the events of ${source.name} pass` }, ...steps);
    view.cards.get(source.key).pass = pass;
    return el("div", { class: "pair" }, box, pass);
  });
  const drains = (channel) => shape.sinks.filter((sink) => sink.channel === channel.name).map((sink) => sink.name);
  const channels = shape.channels.map((channel) => {
    const to = drains(channel);
    return card(channel, to.length ? `Drained by ${names(to)}` : null);
  });
  const sinkOf = (sink) => card(sink, sink.channel ? `Takes from ${sink.channel}` : null);
  const grouped = new Set(shape.groups.flatMap((group) => group.sinks));
  const groups = shape.groups.map((group) => {
    const inside = shape.sinks.filter((sink) => group.sinks.includes(sink.name));
    const title = [`group `, el("b", {}, group.name), ` · ${[group.type, ...group.about].join(" · ")}`];
    return el("div", { class: "group", role: "group", "aria-label": `Sink group ${group.name}` }, el("p", {}, ...title),
      el("ul", {}, ...inside.map((sink) => el("li", {}, sinkOf(sink)))));
  });
  const alone = shape.sinks.filter((sink) => !grouped.has(sink.name)).map(sinkOf);
  view.edges = draw("svg", { "aria-hidden": "true" });
  $("flow").className = plain ? "flow plain" : "flow";
  $("flow").replaceChildren(view.edges, column("Sources", sources), column("Channels", channels), column("Sinks", [...groups, ...alone]));
  buildTable(shape);
}

const COLUMNS = ["Component", "Type", "State", "In/s", "Out/s", "Waiting", "Fill", "Oldest", "Latency (p50 / p99)", "Failures"];

function buildTable(shape) {
  $("columns").replaceChildren(...COLUMNS.map((title, at) => el("th", { role: "columnheader", scope: "col", class: at > 2 ? "number" : null }, title)));
  view.rows.clear();
  const rows = [...shape.sources, ...shape.channels, ...shape.sinks].map((part) => {
    const cells = COLUMNS.slice(1).map((title, at) => el("td", { role: "cell", "data-label": title, class: at > 1 ? "number" : null }));
    const [type, state] = cells;
    say(type, part.type);
    const [dot, why] = [el("span", { class: "dot" }), el("span", { class: "why" })];
    state.append(dot, why);
    view.rows.set(part.key, { dot, why, cells });
    const about = [part.role, ...(part.about ?? [])].join(" · ");
    return el("tr", { role: "row", id: rowId(part.key), tabindex: "-1" }, el("th", { role: "rowheader", scope: "row" }, part.name, el("small", {}, about)), ...cells);
  });
  $("rows").replaceChildren(...rows);
}

/** Draws what leads where. */
function connect() {
  // A change of size may come before anything is built.
  if (!view.edges) return;
  const area = $("flow").getBoundingClientRect();
  const shape = agent.shape();
  const parts = [];
  const wires = [];
  const ends = (element) => {
    const r = element.getBoundingClientRect();
    return { left: r.left - area.left, right: r.right - area.left, middle: r.top - area.top + r.height / 2 };
  };
  const wire = (from, to, rate, keys) => {
    if (!from || !to) return;
    const [a, b] = [ends(from), ends(to)];
    // The edge of a card without a following part runs straight past the parts that other events
    // pass.
    const pair = from.classList.contains("source") && !to.classList.contains("pass") ? ends(from.parentElement).right : a.right;
    const bend = Math.max((b.left - pair) / 2, 12);
    const d = `M${a.right} ${a.middle}H${pair}C${pair + bend} ${a.middle} ${b.left - bend} ${b.middle} ${b.left} ${b.middle}`;
    const width = rate > 0 ? Math.min(2 + Math.log10(1 + rate), 7) : 1.5;
    const lines = [draw("path", { class: "edge", d, "stroke-width": width })];
    if (rate > 0.05 && !agent.awaySince) lines.push(draw("path", { class: "pulse", d }));
    const whole = draw("g", {}, ...lines);
    parts.push(whole);
    wires.push({ whole, keys });
  };
  for (const source of shape.sources) {
    const { box, pass } = view.cards.get(source.key) ?? {};
    const rate = agent.rate(source.key, "accepted_events_total") ?? 0;
    if (pass) wire(box, pass, rate, [source.key]);
    for (const name of source.channels ?? []) {
      const key = keyOf("channel", name);
      const put = agent.rate(key, "put_events_total") ?? 0;
      wire(pass ?? box, view.cards.get(key)?.box, Math.min(rate, put), [source.key, key]);
    }
  }
  for (const sink of shape.sinks) {
    const key = keyOf("channel", sink.channel);
    wire(view.cards.get(key)?.box, view.cards.get(sink.key)?.box, agent.rate(sink.key, "delivered_events_total") ?? 0, [sink.key, key]);
  }
  view.wires = wires;
  view.edges.replaceChildren(...parts);
}

/** Shows what leads to and from one component. */
function light(key) {
  for (const { whole, keys } of view.wires ?? []) {
    whole.setAttribute("class", key === null ? "" : keys.includes(key) ? "lit" : "dim");
  }
}

const perSecond = (n) => (isNumber(n) ? `${count(n)}/s` : "–");

/** What a card and a row say of a component. */
function wordsOf(key, role) {
  const value = (measure) => agent.now.value(key, measure);
  const rate = (measure) => agent.rate(key, measure);
  const latencies = agent.latencies(key);
  // A card shows the first of them, the table all.
  const facts = latencies.slice(0, 1).map((l) => `${l.title} p99 ${span(l.p99)}`);
  const failed = (...measures) => measures.reduce((sum, measure) => sum + (value(measure) ?? 0), 0);
  const shared = { latencies, facts };
  if (role === "source") {
    const into = rate("accepted_events_total");
    const open = value("open_connections");
    if (open > 0) facts.unshift(`${count(open)} connection${open === 1 ? "" : "s"}`);
    const failures = failed("read_failures_total", "channel_write_failures_total", "other_failures_total", "optional_channel_lost_events_total");
    return { ...shared, big: perSecond(into), in: into, failures, spark: "accepted_events_per_second" };
  }
  if (role === "sink") {
    const out = rate("delivered_events_total");
    const dead = value("dead_letter_events_total");
    const busy = rate("phase_seconds_total delivering");
    if (busy > 0.005) facts.unshift(`delivers ${percent(Math.min(busy, 1))} of its time`);
    if (dead > 0) facts.push(`${count(dead)} dead letters`);
    const failures = failed("failed_batches_total", "connections_failed_total", "channel_read_failures_total");
    return { ...shared, big: perSecond(out), out, failures, spark: "delivered_events_per_second" };
  }
  const [waiting, capacity, oldest] = [value("waiting_events"), value("capacity_events"), value("oldest_event_age_seconds")];
  const [into, out, size, segments] = [rate("put_events_total"), rate("taken_events_total"), value("waiting_bytes"), value("segment_bytes")];
  facts.unshift(`in ${perSecond(into)}`, `out ${perSecond(out)}`);
  if (oldest > 0) facts.push(`oldest ${span(oldest)}`);
  if (size > 0) facts.push(`${bytes(size)} of events`);
  if (segments > 0) facts.push(`${bytes(segments)} of segment files`);
  if (value("quarantined_events_total") > 0) facts.push(`${count(value("quarantined_events_total"))} quarantined`);
  const failures = failed("put_failures_total", "take_failures_total");
  return { ...shared, big: `${count(waiting)} waiting`, in: into, out, waiting, fill: value("fill_ratio"), capacity, oldest, failures, spark: "waiting_events" };
}

function refreshPart(part) {
  const { key, role } = part;
  const [state, word, why] = agent.state(key);
  const words = wordsOf(key, role);
  const box = view.cards.get(key);
  if (box) {
    setState(box.dot, [state, word]);
    box.box.classList.toggle("ill", state === "bad");
    box.box.classList.toggle("weak", state === "warn");
    sayBig(box.big, words.big);
    const facts = words.facts.join("\n");
    if (box.facts.dataset.of !== facts) {
      box.facts.dataset.of = facts;
      box.facts.replaceChildren(...words.facts.map((fact) => el("li", {}, fact)));
    }
    if (box.meter && isNumber(words.fill)) {
      box.bar.style.width = `${Math.min(100, words.fill > 0 ? Math.max(words.fill * 100, 1) : 0)}%`;
      box.meter.dataset.state = words.fill >= 0.98 ? "bad" : words.fill >= 0.8 ? "warn" : "ok";
      box.meter.setAttribute("aria-valuenow", (words.fill * 100).toFixed(1));
      box.meter.setAttribute("aria-valuetext", `${percent(words.fill)} of ${count(words.capacity)}`);
      box.meter.title = `${percent(words.fill)} of ${count(words.capacity)} events`;
    }
    sparkline(box.spark, hour.of(key, words.spark));
  }
  const row = view.rows.get(key);
  if (!row) return;
  setState(row.dot, [state, word]);
  say(row.why, why);
  const dash = (n, write) => (n === undefined ? "" : write(n));
  const latency = words.latencies.map((l) => `${l.title} ${span(l.p50)} / ${span(l.p99)}`).join("\n");
  const texts = [dash(words.in, count), dash(words.out, count), dash(words.waiting, count), dash(words.fill, percent), dash(words.oldest, span), latency, count(words.failures)];
  texts.forEach((text, at) => say(row.cells[at + 2], text));
}

function refreshTiles() {
  sayBig($("tile-in"), perSecond(agent.sum("source", "accepted_events_total", true)));
  sayBig($("tile-out"), perSecond(agent.sum("sink", "delivered_events_total", true)));
  sayBig($("tile-waiting"), count(agent.sum("channel", "waiting_events", false)));
  sparkline($("spark-in"), hour.total("accepted_events_per_second"));
  sparkline($("spark-out"), hour.total("delivered_events_per_second"));
  sparkline($("spark-waiting"), hour.total("waiting_events"));
  const most = (measure) => {
    const all = [...agent.now.parts.values()].filter((part) => part.role === "channel" && isNumber(part.values.get(measure)));
    return all.reduce((a, b) => (a && a.values.get(measure) >= b.values.get(measure) ? a : b), undefined);
  };
  const [fullest, oldest] = [most("fill_ratio"), most("oldest_event_age_seconds")];
  sayBig($("tile-fill"), percent(fullest?.values.get("fill_ratio")));
  say($("note-fill"), fullest ? `of ${count(fullest.values.get("capacity_events"))} in channel ${fullest.name}` : "");
  $("box-oldest").hidden = !oldest;
  sayBig($("tile-oldest"), span(oldest?.values.get("oldest_event_age_seconds")));
  say($("note-oldest"), oldest ? `in channel ${oldest.name}` : "");
}

const charts = {
  moved: new Chart("Events per second", (n) => count(n)),
  waiting: new Chart("Waiting events", (n) => count(n), true),
};

function refreshCharts() {
  const of = `${hour.began} ${hour.next}`;
  if (view.drawn === of) return;
  view.drawn = of;
  charts.moved.show(hour.times, [
    { name: "in", tone: 0, values: hour.total("accepted_events_per_second") },
    { name: "out", tone: 1, values: hour.total("delivered_events_per_second") },
  ]);
  const last = (values) => values.findLast(isNumber) ?? 0;
  const channels = agent.shape().channels.map((part) => ({ name: part.name, values: hour.of(part.key, "waiting_events") }));
  const kept = channels.filter((line) => line.values);
  // Those that hold most, in a stable order.
  const shown = kept.length > 5 ? [...kept].sort((a, b) => last(b.values) - last(a.values)).slice(0, 5) : kept;
  charts.waiting.show(hour.times, shown.map((line, at) => ({ ...line, tone: (at + 2) % 6 })));
}

const ROLES = { SOURCE: "source", CHANNEL: "channel", SINK: "sink", SINKGROUP: "sink group", AGENT: "agent" };
/** `SINKGROUP.g1` as people say it. */
const spoken = (component) => component.replace(/^([A-Z]+)\./, (key, role) => (Object.hasOwn(ROLES, role) ? `${ROLES[role]} ` : key));

function refreshTroubles(shape) {
  const troubles = [];
  if (agent.awaySince) troubles.push(["", `No answer since ${exactClock.format(agent.awaySince)} (${agent.why}); it is asked again every ${ROUND_MS / 1000} s. What is shown is older.`]);
  for (const words of agent.reasons.get("agent") ?? []) troubles.push(["agent", words]);
  for (const alarm of alarms.active) troubles.push([spoken(alarm.component), `${alarm.name}${alarm.words ? `: ${alarm.words}` : ""}`]);
  const named = new Set(alarms.active.map((alarm) => alarm.component));
  for (const part of [...shape.channels, ...shape.sinks, ...shape.sources]) {
    const [state, word, why] = agent.state(part.key);
    if (["bad", "warn"].includes(state) && !named.has(part.key)) troubles.push([`${part.role} ${part.name}`, `${word}${why ? `: ${why}` : ""}`]);
  }
  const said = JSON.stringify(troubles);
  if (view.troubles !== said) {
    view.troubles = said;
    $("troubles").replaceChildren(...troubles.map(([who, words]) => el("li", {}, who ? el("b", {}, who) : null, words)));
  }
  $("trouble").hidden = !troubles.length;
  const words = troubles.length === 1 ? "1 to look at" : `${troubles.length} to look at`;
  const state = agent.awaySince ? ["bad", "No answer"] : view.paused ? ["wait", "Paused"] : troubles.length ? ["bad", words] : agent.ready === false ? ["warn", "Not ready"] : ["ok", "All well"];
  if ($("state").dataset.said !== state.join()) {
    $("state").dataset.said = state.join();
    setState($("state"), state);
  }
  document.body.classList.toggle("stale", agent.awaySince !== null);
  document.title = `${troubles.length ? `(${troubles.length}) ` : ""}${agent.name ?? "agent"} – millpond`;
}

const ALARM_COLUMNS = ["Raised", "Cleared", "Severity", "Alarm", "Component", "What"];

const alarms = {
  active: [],

  /** Whatever of the page is understood; an agent without alarms has none. */
  take(page) {
    const list = (value) => (Array.isArray(value) ? value : []);
    const text = (value) => (["string", "number"].includes(typeof value) ? String(value) : "");
    const read = (alarm) => ({
      id: text(alarm?.id),
      name: text(alarm?.title ?? alarm?.name ?? alarm?.id),
      component: text(alarm?.component),
      severity: text(alarm?.severity),
      words: text(alarm?.message),
      raised: alarm?.raisedMs,
      cleared: alarm?.clearedMs,
    });
    this.active = list(page?.active).map(read);
    const all = [...this.active, ...list(page?.history).map(read)].slice(0, 100);
    const when = (ms) => (isNumber(ms) ? day.format(ms) : "");
    const row = (alarm) => el("tr", { role: "row" }, ...[when(alarm.raised), when(alarm.cleared) || (this.active.includes(alarm) ? "active" : ""), alarm.severity, `${alarm.name}${alarm.id && alarm.id !== alarm.name ? ` (${alarm.id})` : ""}`, alarm.component, alarm.words].map((cell, at) => el("td", { role: "cell", "data-label": ALARM_COLUMNS[at] }, cell || null)));
    const said = JSON.stringify(all);
    if (this.said === said) return;
    this.said = said;
    $("alarms").hidden = false;
    $("alarm-rows").replaceChildren(...(all.length ? all.map(row) : [el("tr", { role: "row" }, el("td", { role: "cell", colspan: 6, class: "empty" }, "None was ever raised."))]));
  },
};

function refresh() {
  if (!agent.now) return;
  const shape = agent.shape();
  const of = JSON.stringify([shape.sources, shape.channels, shape.sinks, shape.groups]);
  if (of !== view.of) {
    view.of = of;
    build(shape);
  }
  say($("agent"), agent.name ?? "agent");
  const version = agent.now.families.get("millpond_build_info")?.[0]?.labels.get("version") ?? "";
  say($("about"), [version, bytes(agent.now.single("process_resident_memory_bytes")), `as of ${exactClock.format(agent.now.atMs)}`].filter((word) => word && word !== "–").join(" · "));
  for (const part of [...shape.sources, ...shape.channels, ...shape.sinks]) if (agent.now.parts.has(part.key)) refreshPart(part); else refreshLeftOut(part);
  refreshTiles();
  refreshCharts();
  refreshTroubles(shape);
  connect();
}

/** A component that is configured and does not run has no numbers. */
function refreshLeftOut(part) {
  const [state, word, why] = agent.state(part.key);
  setState(view.cards.get(part.key)?.dot, [state, word]);
  const row = view.rows.get(part.key);
  if (row) {
    setState(row.dot, [state, word]);
    say(row.why, why);
  }
}

async function get(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer;
}

async function ask() {
  const slow = view.round % 3 === 0;
  const asked = await Promise.allSettled([
    get("metrics/prometheus").then((answer) => answer.text()),
    get("state").then((answer) => answer.json()),
    slow ? get(`history?from=${hour.next}`).then((answer) => answer.json()) : null,
    slow ? get("flow").then((answer) => answer.json()) : null,
    slow ? get("alarms").then((answer) => answer.json()) : null,
  ]);
  const [metrics, ready, history, flow, alarmed] = asked.map((one) => (one.status === "fulfilled" ? one.value : null));
  if (metrics === null) {
    agent.awaySince ??= agent.now?.atMs ?? Date.now();
    agent.why = asked[0].reason?.name === "TimeoutError" ? `none within ${PATIENCE_MS / 1000} s` : "cannot be reached";
    return;
  }
  agent.awaySince = null;
  agent.take(new Reading(metrics, Date.now()));
  if (ready) agent.hear(ready);
  if (history) hour.take(history);
  if (flow) agent.flow = flow.agents?.[0] ?? null;
  if (alarmed) alarms.take(alarmed);
  view.round += 1;
}

async function live() {
  try {
    if (view.paused || document.visibilityState !== "visible") return;
    await ask();
    agent.now ? refresh() : refreshTroubles({ sources: [], channels: [], sinks: [] });
  } finally {
    setTimeout(live, ROUND_MS);
  }
}

$("pause").addEventListener("click", () => {
  view.paused = !view.paused;
  $("pause").setAttribute("aria-pressed", String(view.paused));
  refreshTroubles(agent.shape());
});
// Once: the flow is rebuilt in the same place.
new ResizeObserver(() => connect()).observe($("flow"));
$("charts").append(charts.moved.box, charts.waiting.box);
for (const id of ["live", "state", "pause"]) $(id).hidden = false;
live();
