// The console: commands as forms, replies as trees, statistics as they change. It asks its own server and nobody else.

const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;

// A page that was opened with a name and a password in its address may not fetch relative to that address.
const MI_ADDRESS = new URL(meta("mi-root"), location.origin).href;
const COMMANDS_ADDRESS = new URL(`${meta("console-root")}/commands.json`, location.origin).href;

/** A command may take this long, then the page gives up waiting for it. */
const CALL_PATIENCE = 120_000;
/** Statistics come from memory: a server that needs longer has other troubles. */
const SAMPLE_PATIENCE = 10_000;
/** So many children of a node are shown at once; more on request, so that a dump of 100,000 contacts opens at once. */
const SHOWN_CHILDREN = 200;
/** A reply opens with about so many lines. */
const SEEN_AT_ONCE = 24;
/** As deep as the server lets values nest, and some. */
const MAX_DEPTH = 512;
/** Longer strings are cut in the tree; the copy has all of them. */
const SHOWN_CHARACTERS = 4000;
const KEPT_CALLS = 60;
/** Replies beyond this many characters are not kept in the history. */
const KEPT_REPLY = 1_000_000;
/** Points of a sparkline. */
const KEPT_SAMPLES = 60;

const by = (id) => document.getElementById(id);

/** An element with attributes, properties (named with a dot before) and children; text stays text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith(".")) element[name.slice(1)] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children);
  return element;
}

function announce(text) {
  by("announcer").textContent = text;
}

function showConnection(state, text) {
  by("connection").dataset.state = state;
  by("connection").textContent = text;
}

// -- JSON that loses nothing: numbers keep their digits, objects their repeated names -----------------

/** Reads JSON text to nodes: {type: object|array|string|number|word, ...}. */
function readJson(text) {
  let at = 0;
  const blanks = /[ \t\r\n]*/y;
  const number = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
  const word = /true|false|null/y;
  const take = (pattern) => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found) at += found[0].length;
    return found?.[0];
  };
  const fail = (expected) => {
    const found = at < text.length ? JSON.stringify(text.slice(at, at + 12)) : "the end";
    throw new SyntaxError(`expected ${expected}, found ${found} at character ${at + 1}`);
  };
  const expect = (character) => {
    take(blanks);
    if (text[at] !== character) fail(`“${character}”`);
    at += 1;
  };
  const readString = () => {
    if (text[at] !== '"') fail("a string");
    let end = at;
    let isEscaped;
    do {
      end = text.indexOf('"', end + 1);
      if (end < 0) fail("a string that ends");
      let backslashes = 0;
      while (text[end - 1 - backslashes] === "\\") backslashes += 1;
      isEscaped = backslashes % 2 === 1;
    } while (isEscaped);
    const quoted = text.slice(at, end + 1);
    try {
      const read = JSON.parse(quoted);
      at = end + 1;
      return read;
    } catch {
      return fail("a string");
    }
  };
  const follows = (close) => {
    take(blanks);
    if (text[at] === close) {
      at += 1;
      return false;
    }
    expect(",");
    take(blanks);
    return true;
  };
  const value = (depth) => {
    if (depth > MAX_DEPTH) throw new SyntaxError(`values may nest ${MAX_DEPTH} levels deep`);
    take(blanks);
    const first = text[at];
    if (first === "{") {
      at += 1;
      const members = [];
      take(blanks);
      if (text[at] === "}") {
        at += 1;
        return { type: "object", members };
      }
      do {
        const name = readString();
        expect(":");
        members.push([name, value(depth + 1)]);
      } while (follows("}"));
      return { type: "object", members };
    }
    if (first === "[") {
      at += 1;
      const items = [];
      take(blanks);
      if (text[at] === "]") {
        at += 1;
        return { type: "array", items };
      }
      do items.push(value(depth + 1));
      while (follows("]"));
      return { type: "array", items };
    }
    if (first === '"') return { type: "string", value: readString() };
    const digits = take(number);
    if (digits !== undefined) return { type: "number", text: digits };
    return { type: "word", text: take(word) ?? fail("a JSON value") };
  };
  const result = value(0);
  take(blanks);
  if (at < text.length) fail("the end");
  return result;
}

/** The node as JSON text, two blanks a level; compact without `indent`. */
function writeJson(node, indent) {
  const newline = indent === undefined ? "" : `\n${indent}`;
  const deeper = indent === undefined ? undefined : `${indent}  `;
  const gap = indent === undefined ? "" : "  ";
  const list = (open, parts, close) =>
    parts.length ? open + parts.map((part) => newline + gap + part).join(",") + newline + close : open + close;
  switch (node.type) {
    case "object": {
      const colon = indent === undefined ? ":" : ": ";
      return list("{", node.members.map(([name, value]) => JSON.stringify(name) + colon + writeJson(value, deeper)), "}");
    }
    case "array":
      return list("[", node.items.map((item) => writeJson(item, deeper)), "]");
    case "string":
      return JSON.stringify(node.value);
    default:
      return node.text;
  }
}

const memberOf = (node, name) => node?.type === "object" ? node.members.find(([key]) => key === name)?.[1] : undefined;

// -- Asking the server --------------------------------------------------------------------------------

let lastId = 0;

/** Calls a command with parameters as JSON text. Gives what came of it; never throws for what a server may say. */
async function call(method, params, { signal, patience = CALL_PATIENCE } = {}) {
  const id = ++lastId;
  const body = `{"jsonrpc":"2.0","id":${id},"method":${JSON.stringify(method)}${params ? `,"params":${params}` : ""}}`;
  const started = performance.now();
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), patience);
  const stop = () => timeout.abort();
  signal?.addEventListener("abort", stop);
  const outcome = { request: body, raw: "" };
  try {
    const response = await fetch(MI_ADDRESS, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body,
      signal: timeout.signal,
      cache: "no-store",
    });
    outcome.raw = await response.text();
    outcome.elapsed = performance.now() - started;
    showConnection("good", "Connected");
    Object.assign(outcome, readReply(response, outcome.raw));
  } catch (error) {
    outcome.elapsed = performance.now() - started;
    outcome.ok = false;
    if (signal?.aborted) outcome.summary = "Cancelled: the server may still be running it";
    else if (timeout.signal.aborted) outcome.summary = `No answer within ${patience / 1000} s`;
    else {
      outcome.summary = "No answer from the server";
      showConnection("bad", "No answer");
    }
    outcome.message = outcome.summary;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
  return outcome;
}

/** What an answer says: ok, code, summary, message, and the node to show. */
function readReply(response, text) {
  let answer;
  try {
    answer = readJson(text);
  } catch (error) {
    const why = response.ok ? `The answer is no JSON: ${error.message}` : text.slice(0, 2000);
    return { ok: false, summary: `HTTP ${response.status} ${response.statusText}`.trim(), message: why };
  }
  const failed = memberOf(answer, "error");
  if (failed) {
    const code = memberOf(failed, "code")?.text ?? "?";
    const reason = memberOf(failed, "message")?.value ?? "";
    const extra = memberOf(failed, "data");
    const said = extra?.type === "string" ? `: ${extra.value}` : "";
    return { ok: false, summary: `${code} ${reason}`, message: `${reason}${said}`, node: failed };
  }
  const result = memberOf(answer, "result");
  if (!result) return { ok: false, summary: `HTTP ${response.status}`, message: "The answer has no result.", node: answer };
  return { ok: true, summary: "OK", node: result };
}

// -- The list of commands -----------------------------------------------------------------------------

/** All commands by the name that they are called by. */
let commands = new Map();
let modules = [];

/** The commands as the server describes them. Throws when it does not. */
async function describedCommands() {
  const response = await fetch(COMMANDS_ADDRESS, { signal: AbortSignal.timeout(SAMPLE_PATIENCE), cache: "no-cache" });
  if (response.ok) return response.json();
  throw Object.assign(new Error(`HTTP ${response.status} ${response.statusText}`.trim()), { isAnswer: true });
}

async function loadCommands() {
  const failed = (why) => {
    showConnection("bad", "No commands");
    by("welcome-text").textContent = `The commands cannot be read: ${why}. Use “Reload commands” to try again.`;
    announce("The commands cannot be read.");
  };
  let described;
  try {
    described = await describedCommands();
    if (described.forwards) {
      // The server learns the commands of those behind it when it is asked for all names.
      await call("which", null, { patience: SAMPLE_PATIENCE });
      described = await describedCommands();
    }
  } catch (error) {
    return failed(error.isAnswer ? error.message : "no answer from the server");
  }
  showConnection("good", "Connected");
  by("server-version").textContent = described.server;
  // What the operator came for goes before what every server has.
  const own = (module) => module.commands.some((command) => !command.built_in);
  modules = [...described.modules.filter(own), ...described.modules.filter((module) => !own(module))];
  commands = new Map(modules.flatMap((module) =>
    module.commands.map((command) => [command.method, { ...command, module: module.name }])));
  by("welcome-text").textContent =
    `${commands.size} commands in ${modules.length} ${modules.length === 1 ? "module" : "modules"}. ` +
    "Those marked “changes” ask before they run.";
  showCommandList();
  findStatisticsCommands();
  showRoute();
}

const addressOf = (method) => `#/${encodeURIComponent(method).replaceAll("%3A", ":")}`;

/** How well a command fits the words searched for: 0 not at all. */
function fit(command, words) {
  const name = `${command.method} ${command.aliases.join(" ")}`.toLowerCase();
  const help = command.help.toLowerCase();
  if (words.every((word) => name.includes(word))) return 2;
  return words.every((word) => name.includes(word) || help.includes(word)) ? 1 : 0;
}

function showCommandList() {
  const words = by("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const list = document.createDocumentFragment();
  let count = 0;
  // Names go before help, in a module and among modules.
  const better = ([, one], [, other]) => other - one;
  const fitting = modules.map((module) => [
    module,
    module.commands.map((command) => [commands.get(command.method), fit(command, words)]).filter(([, fits]) => fits).sort(better),
  ]).filter(([, found]) => found.length);
  fitting.sort(([, one], [, other]) => better(one[0], other[0]));
  fitting.forEach(([module, found], place) => {
    count += found.length;
    const heading = make("h3", { id: `module-${place}` }, module.name);
    const entries = found.map(([command, fits]) => {
      const link = make("a", { href: addressOf(command.method), "data-method": command.method, title: command.help }, command.name);
      if (!command.read_only) link.append(make("span", { class: "mark" }, "changes"));
      const entry = make("li", {}, link);
      if (words.length && fits === 1) entry.append(make("span", { class: "found" }, command.help));
      return entry;
    });
    list.append(heading, make("ul", { "aria-labelledby": heading.id }, ...entries));
  });
  if (!count) list.append(make("p", { class: "muted panel-foot" }, words.length ? "No command fits." : "No commands."));
  by("command-list").replaceChildren(list);
  by("commands-count").textContent = words.length ? `${count} of ${commands.size}` : String(commands.size);
  markCurrent();
}

function markCurrent() {
  for (const link of by("command-list").querySelectorAll("a")) {
    if (link.dataset.method === current?.method) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

by("search").addEventListener("input", () => {
  showCommandList();
  announce(`${by("commands-count").textContent} commands`);
});

by("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  by("command-list").querySelector("a")?.click();
});

by("commands-panel").addEventListener("keydown", (event) => {
  const links = [...by("command-list").querySelectorAll("a")];
  const place = links.indexOf(document.activeElement);
  const inSearch = document.activeElement === by("search");
  const steps = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: links.length - 1 };
  if (event.key === "Escape" && by("search").value) {
    by("search").value = "";
    showCommandList();
    by("search").focus();
  } else if (event.key in steps && (place >= 0 || (inSearch && event.key === "ArrowDown"))) {
    const next = steps[event.key];
    (next < 0 ? by("search") : links[Math.min(next, links.length - 1)])?.focus();
  } else {
    return;
  }
  event.preventDefault();
});

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    by("commands-panel").open = true;
    by("search").focus();
    by("search").select();
  }
});

by("reload-commands").addEventListener("click", async () => {
  await loadCommands();
  if (commands.size) announce(`${commands.size} commands`);
});

// -- The form of a command ----------------------------------------------------------------------------

/** The command that is shown. */
let current;
/** The controls of its parameters: {param, read, fill, values}. */
let fields = [];
/** What to fill in and show when the page of a command opens: an entry of the history. */
let recalled;

const narrow = matchMedia("(max-width: 46rem)");

/** The command that an address names; an empty text when it names none. */
function methodOf(hash) {
  try {
    return hash.startsWith("#/") ? decodeURIComponent(hash.slice(2)) : "";
  } catch {
    return "";
  }
}

function showRoute() {
  const method = methodOf(location.hash);
  const command = commands.get(method);
  const entry = recalled?.method === method ? recalled : undefined;
  recalled = undefined;
  if (method && !command && commands.size) announce(`There is no command ${method}`);
  if (!command) return;
  const changed = current?.method !== command.method;
  current = command;
  markCurrent();
  if (changed || entry) showCommand(command);
  if (entry) {
    fields.forEach((field) => field.fill(entry.fields[field.param.name]));
    showReply(entry.outcome);
  }
}

addEventListener("hashchange", () => {
  const before = current;
  showRoute();
  if (current && current !== before) {
    if (narrow.matches) by("commands-panel").open = false;
    by("command-title").focus();
    if (narrow.matches) by("card").scrollIntoView({ block: "start" });
  }
});

function showCommand(command) {
  by("welcome").hidden = true;
  by("card").hidden = false;
  by("reply").hidden = true;
  closeConfirmation();
  by("command-title").replaceChildren(make("span", { class: "module" }, `${command.module}:`), command.name);
  by("command-kind").textContent = command.read_only ? "read only" : "changes the server";
  by("command-kind").className = command.read_only ? "badge good" : "badge write";
  by("command-help").textContent = command.help || "No help for this command.";
  by("command-aliases").textContent = command.aliases.length ? `Also known as ${command.aliases.join(", ")}` : "";
  by("run").textContent = command.read_only ? "Run" : "Run…";
  fields = fieldsOf(command);
  by("fields").replaceChildren(...fields.map((field) => field.element));
  if (command.recipes?.length) {
    const sets = command.recipes.map((names) => names.join(", ") || "none").join("; or ");
    by("fields").append(make("p", { class: "muted small" }, `Parameters that go together: ${sets}.`));
  }
  if (!fields.length) by("fields").append(make("p", { class: "muted small" }, "Takes no parameters."));
  by("reset").hidden = !fields.length;
}

function fieldsOf(command) {
  if (!command.params) {
    const param = { name: "parameters", type: "tree", required: false, nullable: false, passing: "tree" };
    return [makeField(param, 0)];
  }
  const params = [...command.params];
  if (command.any_name) params.push({ name: "other parameters", type: "dict", required: false, nullable: false, passing: "names" });
  return params.map(makeField);
}

const LIST = /^list\[(.*)\]$/;

/** What a type is called, and how it is entered. */
function describeType(type) {
  const element = LIST.exec(type)?.[1];
  const kinds = { str: "text", int: "whole number", float: "number", bool: "yes or no", dict: "JSON object", any: "JSON or text" };
  if (type === "tree") return ["any parameters", "One per line, or a JSON array or object."];
  if (element) return [`list of ${kinds[element] ?? element}`, element === "any" || element in kinds ? "One per line." : "One per line, each as JSON."];
  return [kinds[type] ?? type, type === "dict" ? "A JSON object." : type === "any" ? "Read as JSON if it is JSON, else as text." : ""];
}

/** The controls of one parameter: its value, whether to send it, and what is wrong with it. */
function makeField(param, place) {
  const id = `field-${place}`;
  const [typeName, typeHint] = describeType(param.type);
  const choices = param.choices ?? (param.type === "bool" ? [true, false] : undefined);
  const multiline = param.type === "tree" || param.type === "dict" || LIST.test(param.type);
  const hints = [typeHint];
  if (param.default !== undefined) hints.push(`Default: ${JSON.stringify(param.default)}`);
  const hint = make("p", { class: "hint", id: `${id}-hint` }, hints.filter(Boolean).join(" "));
  const wrong = make("p", { class: "wrong", id: `${id}-wrong`, hidden: true });
  const common = { id, "aria-describedby": `${id}-hint ${id}-wrong`, "aria-required": param.required ? "true" : undefined };
  let control;
  let grow = () => {};
  if (choices) {
    control = make("select", common);
    if (!param.required) control.append(make("option", { value: "" }, "not sent"));
    else control.append(make("option", { value: "" }, "choose"));
    choices.forEach((choice, index) => {
      const label = param.type === "bool" ? (choice ? "yes" : "no") : typeof choice === "string" ? choice : JSON.stringify(choice);
      control.append(make("option", { value: String(index + 1) }, label));
    });
  } else if (multiline || param.type === "str" || param.type === "any") {
    control = make("textarea", { ...common, rows: multiline ? 2 : 1, spellcheck: "false", autocapitalize: "off" });
    grow = () => { control.rows = Math.min(Math.max(control.value.split("\n").length, multiline ? 2 : 1), 14); };
    control.addEventListener("input", grow);
    control.addEventListener("keydown", (event) => {
      const runs = event.key === "Enter" && !event.isComposing && (event.ctrlKey || (!multiline && !event.shiftKey));
      if (!runs) return;
      event.preventDefault();
      if (!event.repeat) by("command-form").requestSubmit();
    });
  } else {
    control = make("input", { ...common, type: "text", inputmode: param.type === "int" ? "numeric" : "decimal", spellcheck: "false" });
  }

  const controls = make("div", { class: "controls" }, control);
  // An empty text may be meant: whether a value is sent is a question of its own.
  let send;
  if (!choices && !param.required && param.passing !== "tree" && param.passing !== "names") {
    send = make("input", { type: "checkbox", id: `${id}-send` });
    controls.append(make("label", { class: "send" }, send, make("span", {}, "send", make("span", { class: "visually-hidden" }, ` ${param.name}`))));
    control.addEventListener("input", () => { send.checked = control.value !== ""; });
  }
  let nothing;
  if (param.nullable && (param.required || param.default !== null)) {
    nothing = make("input", { type: "checkbox", id: `${id}-null` });
    controls.append(make("label", { class: "send" }, nothing, make("span", {}, "null", make("span", { class: "visually-hidden" }, ` for ${param.name}`))));
    nothing.addEventListener("change", () => { control.disabled = nothing.checked; });
  }

  const about = make("span", { class: "about" }, `${typeName}${param.required ? "" : ", optional"}${param.passing === "rest" ? ", any number" : ""}`);
  const element = make("div", { class: "field" }, make("label", { class: "name", for: id }, param.name, about), controls, hint, wrong);

  const complain = (text) => {
    wrong.textContent = text ?? "";
    wrong.hidden = !text;
    if (text) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
  };
  return {
    param,
    element,
    control,
    complain,
    /** The value as JSON text; undefined when it is not sent. Throws what is wrong with it. */
    read() {
      if (nothing?.checked) return "null";
      if (choices) {
        if (!control.value && param.required) throw new Error("Choose one.");
        return control.value ? JSON.stringify(choices[Number(control.value) - 1]) : undefined;
      }
      if (send ? !send.checked : !param.required && control.value.trim() === "") return undefined;
      return valueAsJson(control.value, param);
    },
    snapshot: () => ({ value: control.value, send: send?.checked, nothing: nothing?.checked }),
    fill(kept) {
      control.value = kept?.value ?? "";
      if (send) send.checked = Boolean(kept?.send);
      if (nothing) nothing.checked = Boolean(kept?.nothing);
      control.disabled = Boolean(nothing?.checked);
      complain();
      grow();
    },
  };
}

function valueAsJson(text, param) {
  const element = LIST.exec(param.type)?.[1];
  if (param.type === "tree") return treeAsJson(text);
  if (element !== undefined) {
    const lines = text.split("\n").filter((line) => line.trim() !== "");
    return `[${lines.map((line) => scalarAsJson(line, element)).join(",")}]`;
  }
  return scalarAsJson(text, param.type);
}

function scalarAsJson(text, type) {
  const trimmed = text.trim();
  switch (type) {
    case "str":
      return JSON.stringify(text);
    case "int": {
      if (!/^[+-]?[0-9]+$/.test(trimmed)) throw new Error(`Expected a whole number, found ${trimmed ? `“${trimmed}”` : "nothing"}.`);
      const number = BigInt(trimmed.replace("+", ""));
      if (BigInt.asIntN(64, number) !== number) throw new Error("Whole numbers have at most 64 bits.");
      return String(number);
    }
    case "float":
      if (trimmed === "" || !Number.isFinite(Number(trimmed))) throw new Error(`Expected a number, found ${trimmed ? `“${trimmed}”` : "nothing"}.`);
      return /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/.test(trimmed) ? trimmed : String(Number(trimmed));
    case "bool":
      if (/^(?:1|true|yes|on)$/i.test(trimmed)) return "true";
      if (/^(?:0|false|no|off)$/i.test(trimmed)) return "false";
      throw new Error(`Expected yes or no, found “${trimmed}”.`);
    case "any":
      try {
        return writeJson(readJson(text));
      } catch {
        return JSON.stringify(text);
      }
    default: {
      const node = parsed(text);
      if (type === "dict" && node.type !== "object") throw new Error("Expected a JSON object: { … }.");
      return writeJson(node);
    }
  }
}

function parsed(text) {
  try {
    return readJson(text);
  } catch (error) {
    throw new Error(`Not JSON: ${error.message}.`);
  }
}

function treeAsJson(text) {
  if (/^\s*[[{]/.test(text)) return writeJson(parsed(text));
  return JSON.stringify(text.split("\n").filter((line) => line !== ""));
}

/** All parameters as JSON text, or undefined when something is wrong, which is then shown. */
function readParams() {
  let firstWrong;
  const values = fields.map((field) => {
    try {
      const value = field.read();
      field.complain();
      return value;
    } catch (error) {
      field.complain(error.message);
      firstWrong ??= field;
      return undefined;
    }
  });
  let params = "";
  if (!firstWrong) {
    const rest = fields.findIndex((field) => field.param.passing === "rest");
    if (fields[0]?.param.passing === "tree") params = values[0] ?? "";
    else if (rest >= 0 && values[rest] !== undefined) {
      // What takes the rest takes it by position, and so does all before it.
      const gap = fields.findIndex((field, place) => place < rest && values[place] === undefined);
      if (gap >= 0) {
        fields[gap].complain(`Must be given for ${fields[rest].param.name} to follow it.`);
        firstWrong = fields[gap];
      }
      const last = values[rest].slice(1, -1);
      params = `[${[...values.slice(0, rest), ...(last ? [last] : [])].join(",")}]`;
    } else params = namedParams(values);
  }
  if (firstWrong) {
    firstWrong.control.focus();
    announce(`${firstWrong.param.name}: ${by(`${firstWrong.control.id}-wrong`).textContent}`);
    return undefined;
  }
  return params;
}

function namedParams(values) {
  const members = [];
  fields.forEach((field, place) => {
    if (values[place] === undefined) return;
    if (field.param.passing === "names") {
      const others = values[place].slice(1, -1);
      if (others) members.push(others);
    } else members.push(`${JSON.stringify(field.param.name)}:${values[place]}`);
  });
  return members.length ? `{${members.join(",")}}` : "";
}

// -- Running it, after a question when it changes something --------------------------------------------

/** Cancels the call that is in progress. */
let running;

by("command-form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running || !current) return;
  const params = readParams();
  if (params === undefined) return;
  if (current.read_only) run(current, params);
  else askFirst(current, params);
});

by("command-form").addEventListener("reset", (event) => {
  event.preventDefault();
  closeConfirmation();
  fields.forEach((field) => field.fill());
  fields[0]?.control.focus();
});

// What is confirmed must be what is shown.
by("command-form").addEventListener("input", () => closeConfirmation());

/** What the question that is open is about. */
let asked;

function askFirst(command, params) {
  asked = { command, params };
  by("run-bar").hidden = true;
  by("confirm-text").textContent = `${command.method} changes the server. Run it with these parameters?`;
  by("confirm").textContent = `Run ${command.name}`;
  by("confirm-bar").hidden = false;
  by("confirm").focus();
  announce(by("confirm-text").textContent);
}

function closeConfirmation() {
  asked = undefined;
  by("confirm-bar").hidden = true;
  by("run-bar").hidden = false;
}

by("confirm").addEventListener("click", () => {
  const { command, params } = asked;
  closeConfirmation();
  run(command, params);
});

// The Enter that asked the question, held down, is no answer to it.
by("confirm").addEventListener("keydown", (event) => {
  if (event.repeat) event.preventDefault();
});

by("confirm-bar").addEventListener("keydown", (event) => {
  if (event.key === "Escape") by("confirm-cancel").click();
});

by("confirm-cancel").addEventListener("click", () => {
  closeConfirmation();
  by("run").focus();
  announce("Not run");
});

by("cancel").addEventListener("click", () => running?.abort());

async function run(command, params) {
  const kept = Object.fromEntries(fields.map((field) => [field.param.name, field.snapshot()]));
  running = new AbortController();
  by("run").disabled = true;
  by("cancel").hidden = false;
  by("reply").setAttribute("aria-busy", "true");
  by("run").focus();
  announce(`Running ${command.name}`);
  const outcome = await call(command.method, params, { signal: running.signal });
  running = undefined;
  const hadFocus = document.activeElement === by("cancel") || document.activeElement === document.body;
  by("run").disabled = false;
  by("cancel").hidden = true;
  by("reply").removeAttribute("aria-busy");
  if (hadFocus) by("run").focus();
  remember(command, kept, outcome);
  announce(`${command.name}: ${outcome.summary}${outcome.ok || outcome.message === outcome.summary ? "" : `, ${outcome.message}`}`);
  if (current === command) showReply(outcome);
}

function milliseconds(elapsed) {
  return elapsed < 10 ? `${elapsed.toFixed(1)} ms` : elapsed < 1000 ? `${Math.round(elapsed)} ms` : `${(elapsed / 1000).toFixed(1)} s`;
}

function size(text) {
  const bytes = new Blob([text]).size;
  return bytes < 1024 ? `${bytes} bytes` : bytes < 1 << 20 ? `${(bytes / 1024).toFixed(1)} KB` : `${(bytes / (1 << 20)).toFixed(1)} MB`;
}

// -- The reply as a tree (the WAI-ARIA pattern: one tab stop, arrows inside) ----------------------------

/** The reply that is shown. */
let shown;

function showReply(outcome) {
  shown = outcome;
  by("reply").hidden = false;
  by("reply-outcome").textContent = outcome.summary;
  by("reply-outcome").className = outcome.ok ? "badge good" : "badge bad";
  by("reply-facts").textContent = `${milliseconds(outcome.elapsed)}, ${size(outcome.raw)}`;
  by("reply-message").hidden = outcome.ok || outcome.summary.endsWith(outcome.message);
  by("reply-message").textContent = outcome.ok ? "" : outcome.message;
  by("request-text").textContent = `POST ${new URL(MI_ADDRESS).pathname}\n${outcome.request}`;
  const tree = by("tree");
  tree.hidden = !outcome.node;
  by("reply-tools").hidden = !outcome.node;
  tree.replaceChildren();
  if (!outcome.node) return;
  const entries = childrenOf(outcome.node) ?? [[undefined, outcome.node]];
  if (entries.length) appendItems(tree, entries, 1);
  else appendItems(tree, [[undefined, outcome.node]], 1);
  // Open from the top, as far as all of it stays on the screen.
  const queue = [...tree.children];
  let seen = queue.length;
  while (queue.length) {
    const item = queue.shift();
    const more = nodeOf.get(item).children?.length ?? 0;
    if (seen + more > SEEN_AT_ONCE) continue;
    seen += more;
    setExpanded(item, true);
    queue.push(...(item.querySelector(":scope > ul")?.children ?? []));
  }
  tree.firstElementChild.tabIndex = 0;
  const branches = Boolean(tree.querySelector("[aria-expanded]"));
  by("expand-all").hidden = !branches;
  by("collapse-all").hidden = !branches;
}

/** Keys and nodes below a node; undefined when it is a leaf. */
function childrenOf(node) {
  if (node.type === "object") return node.members.length ? node.members : undefined;
  if (node.type === "array") return node.items.length ? node.items.map((item, index) => [index, item]) : undefined;
  return undefined;
}

/** What an item of the tree shows, so that it is there when it is opened. */
const nodeOf = new WeakMap();

function appendItems(list, entries, level, from = 0) {
  const end = Math.min(entries.length, from + SHOWN_CHILDREN);
  for (let place = from; place < end; place += 1) {
    const [key, node] = entries[place];
    list.append(makeItem(key, node, level, place + 1, entries.length));
  }
  if (end < entries.length) {
    const left = entries.length - end;
    const row = make("div", { class: "row more" }, make("span", { class: "twist", "aria-hidden": "true" }), `show ${Math.min(left, SHOWN_CHILDREN)} more of ${left}`);
    const more = make("li", { role: "treeitem", "aria-level": level, ".tabIndex": -1 }, row);
    nodeOf.set(more, { more: () => appendItems(list, entries, level, end) });
    list.append(more);
  }
}

function makeItem(key, node, level, place, count) {
  const children = childrenOf(node);
  const row = make("div", { class: "row" }, make("span", { class: "twist", "aria-hidden": "true" }));
  if (key !== undefined) row.append(make("span", { class: typeof key === "number" ? "key index" : "key" }, `${key}:`));
  if (children) {
    const noun = node.type === "object" ? ["member", "members"] : ["element", "elements"];
    const count = `${children.length} ${noun[children.length === 1 ? 0 : 1]}`;
    row.append(make("span", { class: "count" }, `${preview(node)}${count}`));
  } else {
    row.append(make("span", { class: `value ${node.type}` }, leafText(node)));
  }
  const item = make("li", {
    role: "treeitem",
    "aria-level": level,
    "aria-posinset": place,
    "aria-setsize": count,
    "aria-expanded": children ? "false" : undefined,
    "aria-label": row.textContent,
    ".tabIndex": -1,
  }, row);
  nodeOf.set(item, { children, level });
  return item;
}

/** What an object in a list is about: its first member, when that is short. */
function preview(node) {
  const first = node.type === "object" ? node.members[0][1] : undefined;
  if (!first || childrenOf(first)) return "";
  const text = first.type === "string" ? first.value : leafText(first);
  return text.length > 60 || /[\u0000-\u001f]/.test(text) ? "" : `${text}, `;
}

function leafText(node) {
  const text = node.type === "object" ? "{}" : node.type === "array" ? "[]" : node.type === "string" ? JSON.stringify(node.value) : node.text;
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}… (${text.length} characters)` : text;
}

function setExpanded(item, open) {
  const { children, level } = nodeOf.get(item) ?? {};
  if (!children) return;
  if (open && !item.querySelector(":scope > ul")) {
    const group = make("ul", { role: "group" });
    appendItems(group, children, level + 1);
    item.append(group);
  }
  const group = item.querySelector(":scope > ul");
  if (group) group.hidden = !open;
  item.setAttribute("aria-expanded", String(open));
}

function focusItem(item) {
  const tree = by("tree");
  for (const other of tree.querySelectorAll('[role="treeitem"][tabindex="0"]')) other.tabIndex = -1;
  item.tabIndex = 0;
  item.focus();
}

/** The items that can be seen, from top to bottom. */
function visibleItems() {
  return [...by("tree").querySelectorAll('[role="treeitem"]')].filter((item) => !item.parentElement.closest("ul[hidden]"));
}

function activate(item) {
  const { more } = nodeOf.get(item) ?? {};
  if (more) {
    const before = item.previousElementSibling;
    item.remove();
    more();
    focusItem(before.nextElementSibling);
  } else if (item.hasAttribute("aria-expanded")) {
    setExpanded(item, item.getAttribute("aria-expanded") !== "true");
  }
}

let typed = "";
let typedAt = 0;

/** The next item whose label begins with what is being typed. */
function findTyped(items, place, character) {
  const now = performance.now();
  typed = now - typedAt < 800 ? typed + character : character;
  typedAt = now;
  const start = typed.length > 1 ? place : place + 1;
  const order = [...items.slice(start), ...items.slice(0, start)];
  return order.find((item) => item.firstElementChild.textContent.toLowerCase().startsWith(typed.toLowerCase()));
}

by("tree").addEventListener("keydown", (event) => {
  const item = document.activeElement.closest('[role="treeitem"]');
  if (!item || event.ctrlKey || event.metaKey || event.altKey) return;
  const items = visibleItems();
  const place = items.indexOf(item);
  const expanded = item.getAttribute("aria-expanded");
  const parent = item.parentElement.closest('[role="treeitem"]');
  switch (event.key) {
    case "ArrowDown": focusItem(items[Math.min(place + 1, items.length - 1)]); break;
    case "ArrowUp": focusItem(items[Math.max(place - 1, 0)]); break;
    case "Home": focusItem(items[0]); break;
    case "End": focusItem(items[items.length - 1]); break;
    case "ArrowRight":
      if (expanded === "false") setExpanded(item, true);
      else if (expanded === "true") focusItem(item.querySelector(':scope > ul > [role="treeitem"]'));
      break;
    case "ArrowLeft":
      if (expanded === "true") setExpanded(item, false);
      else if (parent) focusItem(parent);
      break;
    case "Enter":
    case " ": activate(item); break;
    case "*": for (const sibling of item.parentElement.children) setExpanded(sibling, true); break;
    default: {
      const found = event.key.length === 1 ? findTyped(items, place, event.key) : undefined;
      if (!found) return;
      focusItem(found);
    }
  }
  event.preventDefault();
});

by("tree").addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (!row || !getSelection().isCollapsed) return;
  focusItem(row.parentElement);
  activate(row.parentElement);
});

by("expand-all").addEventListener("click", () => {
  // Level by level, as far as the page stays quick.
  const queue = [...by("tree").children];
  let opened = 0;
  while (queue.length && opened < 5000) {
    const item = queue.shift();
    setExpanded(item, true);
    opened += 1;
    queue.push(...(item.querySelector(":scope > ul")?.children ?? []));
  }
  announce(queue.length ? "Opened as much as the page can show" : "All opened");
});

by("collapse-all").addEventListener("click", () => {
  for (const item of by("tree").querySelectorAll('[aria-expanded="true"]')) setExpanded(item, false);
  const tree = by("tree");
  if (!visibleItems().some((item) => item.tabIndex === 0) && tree.firstElementChild) {
    for (const item of tree.querySelectorAll('[tabindex="0"]')) item.tabIndex = -1;
    tree.firstElementChild.tabIndex = 0;
  }
  announce("All closed");
});

by("copy").addEventListener("click", async () => {
  const button = by("copy");
  let done = true;
  try {
    await copyText(writeJson(shown.node, ""));
  } catch {
    done = false;
  }
  button.textContent = done ? "Copied" : "Cannot copy";
  announce(done ? "Copied as JSON" : "The browser does not allow copying");
  setTimeout(() => { button.textContent = "Copy as JSON"; }, 1500);
});

async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Browsers have a clipboard on https and on localhost only.
  const area = make("textarea", { class: "visually-hidden", "aria-hidden": "true", ".value": text });
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  by("copy").focus();
  if (!copied) throw new Error("not copied");
  return undefined;
}

// -- History of this session --------------------------------------------------------------------------

let history = [];

function remember(command, kept, outcome) {
  const small = outcome.raw.length > KEPT_REPLY
    ? { ...outcome, node: undefined, raw: "", ok: outcome.ok, message: "The reply was too large to be kept here." }
    : outcome;
  history.unshift({ when: new Date(), method: command.method, name: command.name, fields: kept, outcome: small });
  history.length = Math.min(history.length, KEPT_CALLS);
  showHistory();
}

function showHistory() {
  by("history-empty").hidden = history.length > 0;
  by("history-clear").hidden = history.length === 0;
  by("history-list").replaceChildren(...history.map((entry) => {
    const sent = Object.values(entry.fields).filter((field) => field.nothing || field.send || field.value).map((field) => field.nothing ? "null" : field.value);
    const button = make("button", { type: "button" },
      make("span", { class: "when" }, entry.when.toLocaleTimeString("en-GB")), " ",
      make("span", { class: "what" }, `${entry.name} ${sent.join(" ")}`.trim()), " ",
      make("span", { class: "took" }, milliseconds(entry.outcome.elapsed)), " ",
      make("span", { class: `outcome ${entry.outcome.ok ? "good" : "bad"}` }, entry.outcome.summary));
    button.addEventListener("click", () => recall(entry));
    return make("li", {}, button);
  }));
}

function recall(entry) {
  if (!commands.has(entry.method)) {
    announce(`${entry.method} is gone`);
    return;
  }
  recalled = entry;
  if (location.hash === addressOf(entry.method)) {
    showRoute();
    by("command-title").focus();
  } else location.hash = addressOf(entry.method);
}

by("history-clear").addEventListener("click", () => {
  history = [];
  showHistory();
  by("history-heading").tabIndex = -1;
  by("history-heading").focus();
  announce("The history is empty");
});

// -- Live statistics ----------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";
const STORED_CHOICE = `sipmi.statistics ${meta("mi-root")}`;

/** Which commands read them; undefined when this address has none. */
let readStatistics;
let listStatistics;
/** By name: "incremental" is shown as change per second. */
let growth = new Map();
/** What is watched, by name: {samples: [[time, value]], row}. */
const watched = new Map();
let paused = false;
let sampling = false;
let lastSample = 0;
let timer;

function findStatisticsCommands() {
  const named = (...names) => [...commands.values()].find((command) =>
    command.module === "statistics" && (names.includes(command.name) || names.some((name) => command.aliases.includes(name))));
  readStatistics = named("get_statistics", "get");
  listStatistics = named("list_statistics", "list");
  by("statistics-choice").hidden = !(readStatistics && listStatistics);
  if (!readStatistics || !listStatistics) {
    by("statistics-empty").textContent = "The commands that read statistics may not be run here.";
    return;
  }
  for (const name of storedChoice()) if (!watched.has(name)) watch(name);
  if (watched.size) learnGrowth();
  showStatistics();
  plan();
}

function storedChoice() {
  try {
    const stored = JSON.parse(localStorage.getItem(STORED_CHOICE) ?? "[]");
    return Array.isArray(stored) ? stored.filter((name) => typeof name === "string") : [];
  } catch {
    return [];
  }
}

function storeChoice() {
  try {
    localStorage.setItem(STORED_CHOICE, JSON.stringify([...watched.keys()]));
  } catch {
    // A browser that keeps nothing forgets the choice with the page.
  }
}

by("statistics-choice").addEventListener("toggle", async () => {
  if (!by("statistics-choice").open) return;
  const outcome = await learnGrowth();
  if (growth.size) showChoice();
  else by("statistics-list").replaceChildren(make("p", { class: "message" }, outcome.message ?? "No list of statistics came."));
});

by("statistics-filter").addEventListener("input", showChoice);

function showChoice() {
  const words = by("statistics-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const own = (name) => modules.some((module, place) => place === 0 && name.startsWith(`${module.name}:`)) ? 0 : 1;
  const names = [...growth.keys()].filter((name) => words.every((word) => name.toLowerCase().includes(word)));
  names.sort((one, other) => own(one) - own(other));
  const boxes = names.slice(0, 500).map((name) => {
    const box = make("input", { type: "checkbox", ".checked": watched.has(name) });
    box.addEventListener("change", () => {
      if (box.checked) watch(name);
      else unwatch(name);
      storeChoice();
      showStatistics();
      plan();
    });
    return make("label", {}, box, name);
  });
  const legend = by("statistics-list").querySelector("legend") ?? make("legend", { class: "visually-hidden" }, "Statistics to watch");
  by("statistics-list").replaceChildren(legend, ...boxes);
  if (!boxes.length) by("statistics-list").append(make("p", { class: "muted" }, "None of that name."));
}

function watch(name) {
  const [, group, rest] = /^([^:]*:)?(.*)$/s.exec(name);
  const polyline = document.createElementNS(SVG, "polyline");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 100 28");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.append(polyline);
  const value = make("td", { class: "value" }, "–");
  const change = make("td", { class: "change" });
  const remove = make("button", { type: "button", class: "quiet", "aria-label": `Do not watch ${name}` }, "×");
  remove.addEventListener("click", () => {
    const next = remove.closest("tr").nextElementSibling ?? remove.closest("tr").previousElementSibling;
    unwatch(name);
    storeChoice();
    showStatistics();
    if (by("statistics-choice").open) showChoice();
    (next?.querySelector("button") ?? by("statistics-choice").querySelector("summary")).focus();
  });
  const row = make("tr", { "data-name": name },
    make("th", { scope: "row" }, make("span", { class: "group" }, group ?? ""), make("wbr"), rest, svg),
    value, change, make("td", { class: "remove" }, remove));
  watched.set(name, { samples: [], row, polyline, value, change });
}

function unwatch(name) {
  watched.get(name)?.row.remove();
  watched.delete(name);
}

async function learnGrowth() {
  const outcome = await call(listStatistics.method, "", { patience: SAMPLE_PATIENCE });
  if (outcome.ok && outcome.node.type === "object") {
    growth = new Map(outcome.node.members.map(([name, kind]) => [name, kind.value]));
  }
  return outcome;
}

function showStatistics() {
  by("statistics-rows").replaceChildren(...[...watched.values()].map((entry) => entry.row));
  by("statistics-table").hidden = watched.size === 0;
  by("statistics-empty").hidden = watched.size > 0;
  showSampling();
}

function showSampling() {
  const state = !watched.size ? "" : paused ? "paused" : document.hidden ? "paused while hidden" : "live";
  by("statistics-state").textContent = state;
}

const interval = () => Number(by("statistics-interval").value) * 1000;

/** Samples after the interval, never sooner after the last one. */
function plan() {
  clearTimeout(timer);
  showSampling();
  if (paused || document.hidden || sampling || !watched.size || !readStatistics) return;
  timer = setTimeout(sample, Math.max(0, lastSample + interval() - performance.now()));
}

async function sample() {
  sampling = true;
  lastSample = performance.now();
  const names = JSON.stringify([...watched.keys()]);
  const outcome = await call(readStatistics.method, `{"statistics":${names}}`, { patience: SAMPLE_PATIENCE });
  const values = outcome.ok && outcome.node.type === "object" ? new Map(outcome.node.members) : undefined;
  const now = performance.now();
  if (values) for (const [name, entry] of watched) showSample(name, entry, values.get(name), now);
  sampling = false;
  plan();
  if (!values) by("statistics-state").textContent = `no values: ${outcome.summary}`;
}

function showSample(name, entry, node, now) {
  if (node?.type !== "number") {
    entry.value.textContent = "gone";
    entry.change.textContent = "";
    return;
  }
  entry.value.textContent = grouped(node.text);
  const value = Number(node.text);
  const before = entry.samples.at(-1);
  entry.samples.push([now, value]);
  if (entry.samples.length > KEPT_SAMPLES) entry.samples.shift();
  if (before) {
    const difference = value - before[1];
    const rate = difference / ((now - before[0]) / 1000);
    entry.change.textContent = `${rate > 0 ? "+" : rate < 0 ? "−" : ""}${short(Math.abs(rate))}/s`;
  }
  draw(entry, growth.get(name) === "incremental");
}

/** Counters are drawn as what they grew by, others as what they are: also what is called a counter and falls. */
function draw({ samples, polyline }, counts) {
  const falls = samples.some(([, value], index) => index > 0 && value !== 0 && value < samples[index - 1][1]);
  const grows = counts && !falls;
  const points = grows
    ? samples.slice(1).map(([time, value], index) => [time, Math.max(0, value - samples[index][1]) / (time - samples[index][0])])
    : samples;
  if (points.length < 2) {
    polyline.setAttribute("points", "");
    return;
  }
  const values = points.map(([, value]) => value);
  const low = grows ? 0 : Math.min(...values);
  const span = Math.max(...values) - low;
  const step = 100 / (KEPT_SAMPLES - 1);
  const start = 100 - step * (points.length - 1);
  const height = (value) => span ? 26 - ((value - low) / span) * 24 : grows ? 26 : 14;
  polyline.setAttribute("points", values.map((value, index) => `${(start + index * step).toFixed(1)},${height(value).toFixed(1)}`).join(" "));
}

/** Digits in groups of three, with a narrow blank between. */
function grouped(digits) {
  return /^-?[0-9]+$/.test(digits) ? digits.replace(/\B(?=([0-9]{3})+$)/g, "\u202f") : digits;
}

function short(value) {
  if (value >= 1e6) return `${(value / 1e6).toFixed(1)}M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(1)}k`;
  return value >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(1);
}

by("statistics-pause").addEventListener("click", () => {
  paused = !paused;
  by("statistics-pause").setAttribute("aria-pressed", String(paused));
  plan();
});

by("statistics-interval").addEventListener("change", plan);

document.addEventListener("visibilitychange", plan);

// -- Begin --------------------------------------------------------------------------------------------

if (narrow.matches && location.hash.startsWith("#/")) by("commands-panel").open = false;
loadCommands();
