// Parses the numbers of the pages, and formats numbers.

/** The samples of a page in Prometheus' text format: name -> [{labels: Map, value}]. */
function samplesOf(text) {
  const families = new Map();
  for (const line of text.split("\n")) {
    const head = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{)?/.exec(line);
    if (!head) continue;
    const labels = new Map();
    let at = head[0].length;
    if (head[2]) {
      const pair = /\s*([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",?/y;
      for (pair.lastIndex = at; ; at = pair.lastIndex) {
        const found = pair.exec(line);
        if (!found) break;
        const plain = (_, c) => (c === "n" ? "\n" : c);
        labels.set(found[1], found[2].replace(/\\(.)/gs, plain));
      }
      if (line[at] !== "}") continue;
      at += 1;
    }
    const word = line.slice(at).trim().split(" ")[0];
    const value = { "+Inf": Infinity, "-Inf": -Infinity }[word] ?? Number.parseFloat(word);
    if (Number.isNaN(value)) continue;
    if (!families.has(head[1])) families.set(head[1], []);
    families.get(head[1]).push({ labels, value });
  }
  return families;
}

/** The value below which the part `q` of what a histogram counted lies; buckets are [le, count]. */
function quantile(buckets, q) {
  const total = buckets.length ? buckets[buckets.length - 1][1] : 0;
  if (!(total > 0)) return null;
  let [low, below] = [0, 0];
  for (const [le, count] of buckets) {
    if (count >= q * total) {
      if (le === Infinity) return low;
      return low + ((le - low) * (q * total - below)) / Math.max(count - below, 1e-9);
    }
    [low, below] = [le, count];
  }
  return low;
}

const isNumber = (n) => typeof n === "number" && Number.isFinite(n);
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

function count(n) {
  if (!isNumber(n)) return "–";
  if (n < 10 && n % 1 !== 0) return n < 0.05 ? "0" : n.toFixed(1);
  return n < 10_000 ? whole.format(n) : compact.format(n);
}

function percent(part) {
  if (!isNumber(part)) return "–";
  const n = part * 100;
  if (n > 0 && n < 0.1) return "< 0.1 %";
  return `${n < 10 && n % 1 !== 0 ? n.toFixed(1) : Math.round(n)} %`;
}

function span(seconds) {
  if (!isNumber(seconds)) return "–";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toPrecision(seconds < 0.01 ? 2 : 3)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const [m, h, d] = [60, 3600, 86_400].map((unit) => Math.floor(seconds / unit));
  if (m < 60) return `${m} min ${Math.floor(seconds % 60)} s`;
  return h < 24 ? `${h} h ${m % 60} min` : `${d} d ${h % 24} h`;
}

function bytes(n) {
  if (!isNumber(n)) return "–";
  const at = n < 1 ? 0 : Math.min(4, Math.floor(Math.log(n) / Math.log(1024)));
  const part = n / 1024 ** at;
  return `${part < 10 && at > 0 ? part.toFixed(1) : Math.round(part)} ${["B", "KiB", "MiB", "GiB", "TiB"][at]}`;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const exactClock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
