// The agent as of the last replies: its components, their state and event rates.

const WINDOW_MS = 60_000;
const SINGULAR = { sources: "source", channels: "channel", sinks: "sink" };
const keyOf = (role, name) => `${role.toUpperCase()}.${name}`;

/** One answer of the metrics page, taken apart by component. */
class Reading {
  constructor(text, atMs) {
    this.atMs = atMs;
    this.families = samplesOf(text);
    this.parts = new Map();
    this.histograms = new Map();
    for (const [name, samples] of this.families) {
      const found = /^millpond_(source|channel|sink|stripe)_(.+)$/.exec(name);
      if (found) this.#take(found[1], found[2], samples);
    }
  }

  #take(role, measure, samples) {
    const owner = role === "stripe" ? "channel" : role;
    for (const { labels, value } of samples) {
      const name = labels.get(owner);
      if (name === undefined) continue;
      const key = keyOf(owner, name);
      if (!this.parts.has(key)) {
        this.parts.set(key, { role: owner, name, type: labels.get("type") ?? "", values: new Map(), stripes: [] });
      }
      const part = this.parts.get(key);
      if (measure.endsWith("_seconds_bucket")) {
        this.#count(`${key}\n${role === "stripe" ? "disk " : ""}${measure.slice(0, -"_seconds_bucket".length)}`, labels.get("le"), value);
      } else if (role === "stripe") {
        const at = Number(labels.get("stripe"));
        if (Number.isInteger(at) && at >= 0 && at < 4096) (part.stripes[at] ??= new Map()).set(measure, value);
      } else {
        const phase = labels.get("phase");
        part.values.set(phase === undefined ? measure : `${measure} ${phase}`, value);
      }
    }
  }

  /** Adds a bucket to a histogram; those of a channel's stripes are one. */
  #count(of, le, n) {
    if (!this.histograms.has(of)) this.histograms.set(of, new Map());
    const [buckets, bound] = [this.histograms.get(of), le === "+Inf" ? Infinity : Number(le)];
    buckets.set(bound, (buckets.get(bound) ?? 0) + n);
  }

  value(key, measure) {
    return this.parts.get(key)?.values.get(measure);
  }

  single(name) {
    return this.families.get(name)?.[0]?.value;
  }
}

const agent = {
  flow: null,
  readings: [],
  reasons: new Map(),
  failing: new Map(),
  ready: null,
  name: null,
  awaySince: null,
  why: "",

  get now() {
    return this.readings[this.readings.length - 1];
  },

  take(reading) {
    this.readings.push(reading);
    while (this.readings.length > 2 && this.readings[1].atMs < reading.atMs - WINDOW_MS) this.readings.shift();
  },

  /** How fast a counter moves, over the last few seconds. */
  rate(key, measure) {
    const now = this.now;
    const before = this.readings.findLast((reading) => reading.atMs <= now.atMs - 3500) ?? this.readings[0];
    const [a, b] = [before?.value(key, measure), now?.value(key, measure)];
    if (before === now || a === undefined || b === undefined || b < a) return undefined;
    return ((b - a) * 1000) / (now.atMs - before.atMs);
  },

  /** Latencies of the last minute, where the agent counts them. */
  latencies(key) {
    const found = [];
    for (const [of, buckets] of this.now?.histograms ?? []) {
      const [owner, measure] = of.split(/\n(?=[^\n]*$)/);
      if (owner !== key) continue;
      const before = this.readings[0].histograms.get(of);
      const counted = [...buckets]
        .map(([le, n]) => [le, n - (this.readings.length > 1 ? (before?.get(le) ?? 0) : 0)])
        .sort((a, b) => a[0] - b[0]);
      const [p50, p99] = [quantile(counted, 0.5), quantile(counted, 0.99)];
      if (p99 !== null) found.push({ title: measure.replaceAll("_", " "), p50, p99 });
    }
    return found;
  },

  /** Takes what the page about readiness says. */
  hear(page) {
    const list = (value) => (Array.isArray(value) ? value : []);
    [this.ready, this.name] = [page.ready, page.agent];
    [this.reasons, this.failing] = [new Map(), new Map()];
    for (const { component, reason } of list(page.reasons)) this.reasons.set(component, [...(this.reasons.get(component) ?? []), reason]);
    for (const { component, code, reason, sinceMs } of list(page.failing)) {
      const named = `${reason}`.endsWith(`(${code})`) ? `${reason}` : `${reason} (${code})`;
      this.failing.set(component, `${named}${isNumber(sinceMs) ? `, since ${exactClock.format(sinceMs)}` : ""}`);
    }
  },

  /** The component's state as [ok | warn | bad | wait, a word, why]. */
  state(key) {
    const part = this.now?.parts.get(key);
    if (!part) return ["bad", "left out", "it is configured and does not run; millpond validate and the log say why"];
    const is = (measure) => part.values.get(measure) > 0;
    const why = this.failing.get(key) ?? (this.reasons.get(key) ?? []).join("; ");
    if (part.role === "channel") {
      if (is("unhealthy")) return ["bad", "unhealthy", why];
      if (!is("open")) return ["wait", "not open", why];
      if (part.stripes.some((stripe) => stripe?.get("suspended") > 0)) return ["bad", "disk failing", why];
      if (part.stripes.some((stripe) => stripe?.get("out_of_space") > 0)) return ["bad", "disk full", why];
      const fill = part.values.get("fill_ratio");
      if (fill >= 0.98) return ["bad", "full", why];
      return fill >= 0.8 ? ["warn", "filling up", why] : ["ok", "open", ""];
    }
    if (is("failing")) return ["bad", "failing", why || "its last try failed"];
    if (is("up")) return ["ok", "running", ""];
    if (is("done") || is("stop_time_seconds")) return ["wait", "done", ""];
    return is("start_time_seconds") ? ["bad", "resting", why] : ["wait", "starting", why];
  },

  /** Sources, channels, sinks and groups: as they are configured, and what runs beyond that. */
  shape() {
    const shape = { sources: [], channels: [], sinks: [], groups: this.flow?.groups ?? [] };
    for (const list of ["sources", "channels", "sinks"]) {
      const role = SINGULAR[list];
      const listed = this.flow?.[list] ?? [];
      shape[list] = listed.map((part) => ({ ...part, role, key: keyOf(role, part.name) }));
      const known = new Set(shape[list].map((part) => part.key));
      for (const [key, part] of this.now?.parts ?? []) {
        if (part.role === role && !known.has(key)) {
          shape[list].push({ name: part.name, type: part.type, about: [], role, key });
        }
      }
    }
    return shape;
  },

  sum(role, measure, rate) {
    let [sum, any] = [0, false];
    for (const [key, part] of this.now?.parts ?? []) {
      const n = part.role === role ? (rate ? this.rate(key, measure) : part.values.get(measure)) : undefined;
      if (isNumber(n)) [sum, any] = [sum + n, true];
    }
    return any ? sum : undefined;
  },
};

/** The last hour, as the agent keeps it. */
const hour = {
  began: null,
  next: 0,
  times: [],
  series: new Map(),

  take(answer) {
    const other = answer.started_ms !== this.began;
    if (other || answer.first > this.next) {
      // Another process: its counters begin anew.
      if (this.began !== null) agent.readings = agent.readings.slice(-1);
      Object.assign(this, { began: answer.started_ms, times: [], series: new Map() });
    }
    if (other && this.next > 0 && answer.first > 0) {
      // The request used the sample numbers of the earlier process; this one has earlier samples,
      // too.
      Object.assign(this, { began: null, next: 0 });
      return;
    }
    const kept = this.times.length;
    const fresh = answer.times_ms.length;
    this.times.push(...answer.times_ms);
    for (const { component, measure, values } of answer.series) {
      const of = `${component}\n${measure}`;
      if (!this.series.has(of)) this.series.set(of, Array(kept).fill(null));
      this.series.get(of).push(...values);
    }
    const excess = Math.max(0, this.times.length - answer.samples_max);
    this.times.splice(0, excess);
    for (const [of, values] of this.series) {
      while (values.length < kept + fresh) values.push(null);
      values.splice(0, excess);
      if (values.every((value) => value === null)) this.series.delete(of);
    }
    this.next = answer.first + fresh;
  },

  of(key, measure) {
    return this.series.get(`${key}\n${measure}`);
  },

  /** Sums of a measure over all components. */
  total(measure) {
    const sums = Array(this.times.length).fill(null);
    for (const [of, values] of this.series) {
      if (!of.endsWith(`\n${measure}`)) continue;
      values.forEach((value, at) => value !== null && (sums[at] = (sums[at] ?? 0) + value));
    }
    return sums;
  },
};
