// The timeline of a run: drawn on a canvas, moved by keyboard and mouse, searched. Asks nothing of any network.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const UNIT = 10000; // data's times are in tenths of a millisecond
  const canvas = $("canvas"), box = $("lanes"), said = $("said"), context = canvas.getContext("2d");
  const TEST = data.kinds.indexOf("test"), AXIS = 24;
  const FAILED = new Set(["failed", "error", "crashed"]);

  // Tests, from their columns.
  const T = data.tests, count = T.name.length;
  const begin = new Array(count);
  for (let i = 0, at = 0; i < count; i++) begin[i] = at += T.from[i];
  const idOf = (i) => T.paths[T.path[i]] + (T.name[i] ? "::" + T.name[i] : "");
  const outcomeOf = (i) => data.outcomes[T.outcome[i]];

  // Bars of a lane: [kind, from, to, subject], by time.
  const lanes = data.lanes.map((lane) => {
    const bars = [];
    for (let i = 0; i < lane.spans.length; i += 4) {
      const s = lane.spans;
      bars.push({ kind: s[i], from: s[i + 1], to: s[i + 1] + s[i + 2], subject: s[i + 3] });
    }
    return { name: lane.name, machine: !!lane.machine, worker: lane.worker, bars };
  });
  const laneOf = new Map(lanes.map((lane, place) => [lane.worker, place]));
  const barOf = new Array(count);
  for (let i = 0; i < count; i++) {
    const lane = lanes[laneOf.get(T.worker[i])];
    if (!lane) continue;
    barOf[i] = { kind: TEST, from: begin[i], to: begin[i] + T.length[i], subject: i };
    lane.bars.push(barOf[i]);
  }
  for (const lane of lanes) lane.bars.sort((a, b) => a.from - b.from);

  // What is seen.
  const whole = Math.max(data.wall, 1);
  let from = 0, to = whole, chosen = null, chosenLane = 0, found = null;
  let width = 0, height = 0, row = 0, gutter = 0, queued = false, colours = {};

  const readColours = () => {
    const style = getComputedStyle(document.documentElement);
    const get = (name) => style.getPropertyValue(name).trim();
    colours = { ink: get("--ink"), soft: get("--soft"), line: get("--line"), lane: get("--lane"), alt: get("--lane-alt"), card: get("--card"), mark: get("--mark"), accent: get("--accent") };
    colours.kinds = data.kinds.map((_, i) => get("--k" + i));
    colours.outcomes = data.outcomes.map((_, i) => get("--o" + i));
  };
  const measure = () => {
    const ratio = window.devicePixelRatio || 1;
    width = box.clientWidth;
    row = lanes.length > 300 ? 8 : lanes.length > 60 ? 13 : 20;
    gutter = row < 12 ? 0 : width < 600 ? 58 : 150;
    height = AXIS + lanes.length * row + 4;
    canvas.style.height = height + "px";
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(Math.min(height, 16000) * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    readColours();
    draw();
  };
  const draw = () => {
    if (queued) return;
    queued = true;
    requestAnimationFrame(paint);
  };
  const x = (at) => gutter + ((at - from) / (to - from)) * (width - gutter);
  const colourOf = (bar) => (bar.kind === TEST ? colours.outcomes[T.outcome[bar.subject]] : colours.kinds[bar.kind]);

  const paint = () => {
    queued = false;
    const c = context;
    c.clearRect(0, 0, width, height);
    c.font = "12px system-ui, sans-serif";
    c.textBaseline = "middle";
    lanes.forEach((lane, place) => {
      const top = AXIS + place * row;
      c.fillStyle = place === chosenLane && document.activeElement === canvas ? colours.line : place % 2 ? colours.alt : colours.lane;
      c.fillRect(0, top, width, row - 1);
      paintLane(c, lane, top);
      if (!gutter) return;
      c.fillStyle = place % 2 ? colours.alt : colours.lane;
      c.fillRect(0, top, gutter, row - 1);
      c.fillStyle = lane.machine ? colours.ink : colours.soft;
      c.font = (lane.machine ? "600 " : "") + (row < 16 ? "10px" : "12px") + " system-ui, sans-serif";
      c.save();
      c.beginPath();
      c.rect(0, top, gutter - 4, row);
      c.clip();
      c.fillText(lane.name, lane.machine ? 6 : 16, top + row / 2);
      c.restore();
    });
    paintAxis(c);
    if (chosen) {
      const left = Math.max(x(chosen.bar.from), gutter), right = Math.max(x(chosen.bar.to), left + 3);
      c.strokeStyle = colours.mark;
      c.lineWidth = 2;
      c.strokeRect(left - 1, AXIS + chosen.lane * row, right - left + 2, row - 1);
    }
    performance.mark("painted");
  };
  const paintLane = (c, lane, top) => {
    const bars = lane.bars, pad = lane.machine ? Math.round(row / 4) : 2;
    let last = -1;
    for (let i = firstVisible(bars); i < bars.length && bars[i].from <= to; i++) {
      const bar = bars[i], left = Math.max(x(bar.from), gutter), right = Math.min(Math.max(x(bar.to), left + 0.7), width);
      const failed = bar.kind === TEST && FAILED.has(outcomeOf(bar.subject));
      // What would be drawn over what is there already is left out, unless it matters.
      if (right <= last && !failed && !(found && bar.kind === TEST && found.has(bar.subject))) continue;
      c.globalAlpha = found && !(bar.kind === TEST && found.has(bar.subject)) ? 0.18 : 1;
      c.fillStyle = colourOf(bar);
      const gap = right - left > 4 ? 0.6 : 0;
      c.fillRect(left, top + pad, Math.max(right - left - gap, failed ? 2 : 0.7), row - 1 - 2 * pad);
      last = Math.max(last, left + 0.7);
      if (bar.kind === TEST && right - left > 70 && row >= 16) label(c, bar, left, right, top);
    }
    c.globalAlpha = 1;
  };
  const label = (c, bar, left, right, top) => {
    c.save();
    c.beginPath();
    c.rect(left + 3, top, right - left - 8, row);
    c.clip();
    c.fillStyle = "#08130e";
    c.font = "11px system-ui, sans-serif";
    c.fillText(T.name[bar.subject] || idOf(bar.subject), left + 5, top + row / 2);
    c.restore();
  };
  const firstVisible = (bars) => {
    let low = 0, high = bars.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (bars[middle].to < from) low = middle + 1;
      else high = middle;
    }
    return Math.max(low - 1, 0);
  };
  const paintAxis = (c) => {
    const top = box.scrollTop;
    c.fillStyle = colours.card;
    c.fillRect(0, top, width, AXIS);
    c.fillStyle = colours.soft;
    c.strokeStyle = colours.line;
    c.lineWidth = 1;
    c.font = "11px system-ui, sans-serif";
    const rough = ((to - from) / UNIT / (width - gutter)) * 90;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((s) => s >= rough);
    for (let at = Math.ceil(from / UNIT / step) * step; at * UNIT <= to; at += step) {
      const left = Math.round(x(at * UNIT)) + 0.5;
      c.beginPath();
      c.moveTo(left, top + 17);
      c.lineTo(left, height);
      c.globalAlpha = 0.55;
      c.stroke();
      c.globalAlpha = 1;
      const text = seconds(at * UNIT, step);
      if (left + c.measureText(text).width < width) c.fillText(text, left + 3, top + 11);
    }
  };

  const seconds = (units, step) => {
    const s = units / UNIT;
    if (step !== undefined) return s.toFixed(Math.max(0, Math.ceil(-Math.log10(step) - 1e-9))) + " s";
    return s < 0.0995 ? (s * 1000).toFixed(1) + " ms" : s < 9.95 ? s.toFixed(2) + " s" : s.toFixed(1) + " s";
  };
  const describe = (lane, bar) => {
    const where = `${lanes[lane].name}, ${seconds(bar.from, 0.001)} to ${seconds(bar.to, 0.001)}`;
    if (bar.kind === TEST) {
      const again = T.reruns[bar.subject] ? `, run again ${T.reruns[bar.subject]} times` : "";
      return `${idOf(bar.subject)}: ${outcomeOf(bar.subject)}${again}, ${seconds(T.took[bar.subject])} (${where})`;
    }
    const file = bar.subject >= 0 && data.files[bar.subject] ? ` of ${data.files[bar.subject]}` : "";
    return `${data.kinds[bar.kind]}${file}, ${seconds(bar.to - bar.from)} (${where})`;
  };

  const look = (a, b) => {
    const length = Math.min(Math.max(b - a, 20), whole);
    from = Math.min(Math.max(a, 0), whole - length);
    to = from + length;
    draw();
  };
  const zoom = (factor, around = (from + to) / 2) => look(around - (around - from) * factor, around + (to - around) * factor);
  const choose = (lane, bar, bring) => {
    chosen = { lane, bar };
    chosenLane = lane;
    said.textContent = describe(lane, bar);
    if (bring) {
      const length = to - from;
      if (bar.from < from || bar.to > to) look(bar.from - length / 3, bar.from + (length * 2) / 3);
      bringLane(lane);
    }
    draw();
  };
  const bringLane = (lane) => {
    const top = AXIS + lane * row;
    if (top < box.scrollTop + AXIS || top + row > box.scrollTop + box.clientHeight) box.scrollTop = top - box.clientHeight / 2;
  };
  const showTest = (i) => {
    const bar = barOf[i];
    if (!bar) return;
    const length = Math.max((bar.to - bar.from) * 12, whole / 500);
    look(bar.from - length / 2, bar.to + length / 2);
    choose(laneOf.get(T.worker[i]), bar, true);
    canvas.focus({ preventScroll: true });
    $("timeline").scrollIntoView();
  };
  const step = (direction) => {
    const bars = lanes[chosenLane] ? lanes[chosenLane].bars : [];
    if (!bars.length) return;
    let place = chosen && chosen.lane === chosenLane ? bars.indexOf(chosen.bar) + direction : firstVisible(bars);
    place = Math.min(Math.max(place, 0), bars.length - 1);
    choose(chosenLane, bars[place], true);
  };
  const failures = T.outcome.map((_, i) => i).filter((i) => FAILED.has(outcomeOf(i)));
  let failure = -1;
  const nextFailure = () => {
    if (!failures.length) return void (said.textContent = "No test failed.");
    failure = (failure + 1) % failures.length;
    showTest(failures[failure]);
  };

  const keys = {
    ArrowLeft: () => look(from - (to - from) / 8, to - (to - from) / 8),
    ArrowRight: () => look(from + (to - from) / 8, to + (to - from) / 8),
    ArrowUp: () => lane(-1),
    ArrowDown: () => lane(1),
    "+": () => zoom(0.6, chosen ? (chosen.bar.from + chosen.bar.to) / 2 : undefined),
    "=": () => keys["+"](),
    "-": () => zoom(1 / 0.6),
    0: () => look(0, whole),
    n: () => step(1),
    p: () => step(-1),
    f: nextFailure,
  };
  const lane = (direction) => {
    chosenLane = Math.min(Math.max(chosenLane + direction, 0), lanes.length - 1);
    chosen = null;
    said.textContent = lanes[chosenLane] ? `Lane ${lanes[chosenLane].name}` : "";
    bringLane(chosenLane);
    draw();
  };
  canvas.addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || /^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
    event.preventDefault();
    $("search").focus();
  });

  const at = (event) => {
    const place = canvas.getBoundingClientRect();
    const left = event.clientX - place.left, top = event.clientY - place.top;
    return { time: from + ((left - gutter) / (width - gutter)) * (to - from), lane: Math.floor((top - AXIS) / row), left };
  };
  const barAt = (event) => {
    const { time, lane: place } = at(event), bars = lanes[place] && lanes[place].bars;
    if (!bars) return null;
    const slack = ((to - from) / (width - gutter)) * 3;
    let best = null;
    for (let i = firstVisible(bars); i < bars.length && bars[i].from <= time + slack; i++) {
      if (bars[i].to >= time - slack && (!best || bars[i].kind === TEST)) best = bars[i];
    }
    return best && { lane: place, bar: best };
  };
  let dragged = null;
  canvas.addEventListener("pointerdown", (event) => {
    dragged = { left: event.clientX, from, to, moved: false };
    canvas.setPointerCapture(event.pointerId);
    canvas.classList.add("moving");
  });
  canvas.addEventListener("pointermove", (event) => {
    if (dragged) {
      const shift = ((event.clientX - dragged.left) / (width - gutter)) * (dragged.to - dragged.from);
      dragged.moved = dragged.moved || Math.abs(event.clientX - dragged.left) > 3;
      if (dragged.moved) look(dragged.from - shift, dragged.to - shift);
      return;
    }
    const hit = barAt(event);
    if (hit && (!chosen || hit.bar !== chosen.bar)) choose(hit.lane, hit.bar, false);
  });
  const drop = (event) => {
    canvas.classList.remove("moving");
    if (dragged && !dragged.moved) {
      const hit = barAt(event);
      if (hit) choose(hit.lane, hit.bar, false);
    }
    dragged = null;
  };
  canvas.addEventListener("pointerup", drop);
  canvas.addEventListener("pointercancel", drop);
  canvas.addEventListener("dblclick", (event) => zoom(0.4, at(event).time));
  canvas.addEventListener("wheel", (event) => {
    const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
    // The wheel alone scrolls the page, as everywhere.
    if (!(event.ctrlKey || event.metaKey || event.shiftKey || sideways)) return;
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) return zoom(Math.exp(Math.max(-100, Math.min(event.deltaY, 100)) / 250), at(event).time);
    const shift = ((sideways ? event.deltaX : event.deltaY) / width) * (to - from);
    look(from + shift, to + shift);
  }, { passive: false });
  canvas.addEventListener("focus", draw);
  canvas.addEventListener("blur", draw);
  box.addEventListener("scroll", draw);
  $("in").onclick = keys["+"];
  $("out").onclick = keys["-"];
  $("all").onclick = keys[0];

  // Search: all words have to be there, in the id, the outcome or the worker.
  const texts = [];
  const textOf = (i) => (texts[i] = texts[i] || `${idOf(i)} ${outcomeOf(i)} gw${T.worker[i]}${T.reruns[i] ? " flaky" : ""}`.toLowerCase());
  const SHOWN = 100;
  const search = () => {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    $("found").hidden = !words.length;
    found = null;
    if (words.length) {
      found = new Set();
      for (let i = 0; i < count; i++) if (words.every((word) => textOf(i).includes(word))) found.add(i);
      list([...found].sort((a, b) => T.took[b] - T.took[a]));
    }
    draw();
  };
  const cell = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
  const list = (hits) => {
    const more = hits.length > SHOWN ? `, the ${SHOWN} slowest of them below` : "";
    $("found-count").textContent = `${hits.length} of ${count} tests${more}`;
    $("rows").replaceChildren(...hits.slice(0, SHOWN).map((i) => {
      const line = document.createElement("tr"), head = document.createElement("th"), button = document.createElement("button");
      head.scope = "row";
      Object.assign(button, { type: "button", className: "test" });
      button.dataset.test = i;
      button.append(cell("code", idOf(i)));
      head.append(button);
      const outcome = cell("td", "");
      outcome.append(Object.assign(cell("span", outcomeOf(i)), { className: "outcome " + outcomeOf(i) }));
      line.append(head, outcome, cell("td", seconds(T.took[i])), cell("td", seconds(begin[i])), cell("td", "gw" + T.worker[i]));
      return line;
    }));
  };
  $("search").addEventListener("input", search);
  $("search").addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      $("search").value = "";
      search();
      canvas.focus();
    }
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-test]");
    if (button) showTest(Number(button.dataset.test));
  });

  // What is on it, and nothing else, is explained.
  const legend = () => {
    const kinds = new Set(lanes.flatMap((l) => l.bars.map((bar) => bar.kind))), outcomes = new Set(T.outcome);
    const entry = (colour, text) => {
      const item = document.createElement("li"), key = document.createElement("i");
      key.style.background = `var(${colour})`;
      item.append(key, text);
      return item;
    };
    const entries = data.kinds.map((name, i) => (i !== TEST && kinds.has(i) ? entry("--k" + i, name) : null));
    const tests = data.outcomes.map((name, i) => (outcomes.has(i) ? entry("--o" + i, `test: ${name}`) : null));
    $("legend").replaceChildren(...[...tests, ...entries].filter(Boolean));
  };
  const dark = () => {
    const set = document.documentElement.dataset.theme;
    return set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  $("theme").onclick = () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    readColours();
    draw();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); draw(); });
  for (const time of document.querySelectorAll("time[data-epoch]")) {
    time.title = time.textContent;
    time.textContent = new Date(time.dataset.epoch * 1000).toLocaleString();
  }
  new ResizeObserver(measure).observe(box);
  legend();
  measure();
})();
