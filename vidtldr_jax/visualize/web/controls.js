// The page itself: what is shown, and what keys, sliders and the pointer do to it.

const find = (id) => document.getElementById(id);
const history = readHistory(find("history").textContent);
const pictures = await readPictures(history);
const [numSteps, numRows, numColumns] = history.grid;
const PAINTERS = { frame: paintFrame, saliency: paintSaliency, groups: paintGroups, means: paintMeans };
const views = Object.entries(PAINTERS).map(([name, painter]) => ({ canvas: find(`view-${name}`), painter, cache: "" }));
// `place` is the row and column that is pointed at; `held` a group that stays while frames pass.
const now = { frame: 0, layer: history.layers.length - 1, place: null, held: null, timer: null };

const getLayer = () => history.layers[now.layer];
const getStep = () => Math.floor(now.frame / history.tubelet);
const findPatch = ([row, column], step = getStep()) => (step * numRows + row) * numColumns + column;

function make(tag, text, parent) {
  const element = document.createElement(tag);
  element.textContent = text;
  parent?.append(element);
  return element;
}

function nameFrames(step) {
  const first = step * history.tubelet + 1;
  return history.tubelet === 1 ? `frame ${first}` : `frames ${first} to ${first + history.tubelet - 1}`;
}

/** Returns the patches that are outlined: those that share a token with the one that is held or pointed at. */
function findChosen() {
  const patch = now.held ?? (now.place && findPatch(now.place));
  if (patch === null || patch === undefined) return [];
  return getLayer().members.get(getLayer().group[patch]) ?? [patch];
}

function drawViews() {
  const shown = `${now.frame} ${now.layer}`;
  const chosen = findChosen().map((patch) => locate(history, patch)).filter(([step]) => step === getStep());
  views.forEach((view) => {
    if (view.cache !== shown) view.picture = view.painter(history, pictures, now.frame, getLayer());
    view.cache = shown;
    const pen = view.canvas.getContext("2d");
    pen.putImageData(view.picture, 0, 0);
    outline(pen, pictures, history.grid, chosen.map(([, row, column]) => [row, column]));
  });
}

/** Says of a patch where it is, with whom it shares a token, and what that token is worth. */
function describePatch() {
  const box = find("patch");
  box.replaceChildren();
  const patch = now.held ?? (now.place && findPatch(now.place));
  if (patch === null || patch === undefined) {
    make("p", "Point at a picture, or move with W A S D, to see which patches share a token.", box);
    return;
  }
  const layer = getLayer();
  const [step, row, column] = locate(history, patch);
  const held = now.held === null ? "" : "held, ";
  make("p", `${held}${nameFrames(step)}, row ${row + 1}, column ${column + 1}`, box);
  const members = layer.members.get(layer.group[patch]);
  if (!members) {
    const first = history.layers.find((one) => one.group[patch] === DROPPED);
    make("p", `dropped in layer ${first.layer}: as background it was absorbed with no say, or left out`, box);
  } else {
    const size = members.reduce((sum, member) => sum + layer.weight[member], 0);
    const others = members.length === 1 ? "on its own" : `one of a group of ${members.length} patches`;
    make("p", `${others}, size ${size.toFixed(2)}`, box);
  }
  const value = layer.saliency ? layer.saliency[patch] : NO_SALIENCY;
  const saliency = value === NO_SALIENCY ? "none: it was gone before" : (value / (NO_SALIENCY - 1)).toFixed(2);
  if (layer.saliency) make("p", `saliency in layer ${layer.layer}: ${saliency}`, box);
  if (members && members.length > 1) {
    const list = make("ul", "", box);
    for (let moment = 0; moment < numSteps; moment += 1) {
      const count = members.filter((member) => locate(history, member)[0] === moment).length;
      if (count) make("li", `${nameFrames(moment)}: ${count}`, list);
    }
  }
}

function update() {
  const layer = getLayer();
  find("frame").value = now.frame;
  find("layer").value = now.layer;
  find("frame-now").textContent = `${now.frame + 1} of ${history.frames.length}`;
  const before = layer.tokensIn === layer.tokensOut ? "" : `${layer.tokensIn} to `;
  find("layer-now").textContent = `${layer.layer}: ${before}${layer.tokensOut} tokens`;
  document.querySelectorAll("#tokens button").forEach((bar, number) => {
    bar.setAttribute("aria-current", String(number === now.layer));
  });
  views.forEach(({ canvas }) => {
    const caption = canvas.parentElement.querySelector("figcaption").textContent;
    canvas.setAttribute("aria-label", `${caption}, frame ${now.frame + 1}, layer ${layer.layer}`);
  });
  drawViews();
  describePatch();
}

function goTo({ frame = now.frame, layer = now.layer }) {
  const count = history.frames.length;
  now.frame = (frame + count) % count;
  now.layer = Math.min(Math.max(layer, 0), history.layers.length - 1);
  update();
}

function movePlace(down, right) {
  const [row, column] = now.place ?? [Math.floor(numRows / 2) - down, Math.floor(numColumns / 2) - right];
  now.place = [Math.min(Math.max(row + down, 0), numRows - 1), Math.min(Math.max(column + right, 0), numColumns - 1)];
  now.held = null;
  update();
}

function hold() {
  const isSame = now.held !== null && now.place && findChosen().includes(findPatch(now.place));
  now.held = now.place && !isSame ? findPatch(now.place) : null;
  update();
}

function togglePlay() {
  if (now.timer) clearInterval(now.timer);
  now.timer = now.timer ? null : setInterval(() => goTo({ frame: now.frame + 1 }), 1000 / history.fps);
  find("play").textContent = now.timer ? "Stop" : "Play";
  find("play").setAttribute("aria-pressed", String(Boolean(now.timer)));
}

const KEYS = {
  ArrowLeft: () => goTo({ frame: now.frame - 1 }),
  ArrowRight: () => goTo({ frame: now.frame + 1 }),
  ArrowUp: () => goTo({ layer: now.layer - 1 }),
  ArrowDown: () => goTo({ layer: now.layer + 1 }),
  w: () => movePlace(-1, 0),
  s: () => movePlace(1, 0),
  a: () => movePlace(0, -1),
  d: () => movePlace(0, 1),
  Enter: hold,
  Escape: () => {
    Object.assign(now, { place: null, held: null });
    update();
  },
  " ": togglePlay,
};

function listen() {
  document.addEventListener("keydown", (event) => {
    const isNative = event.target.matches("input") ? /^Arrow/ : event.target.matches("button") ? /^( |Enter)$/ : /^$/;
    const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey || isNative.test(event.key)) return;
    event.preventDefault();
    action();
  });
  find("frame").addEventListener("input", (event) => goTo({ frame: Number(event.target.value) }));
  find("layer").addEventListener("input", (event) => goTo({ layer: Number(event.target.value) }));
  find("play").addEventListener("click", togglePlay);
  views.forEach(({ canvas }) => {
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      const row = Math.floor(((event.clientY - box.top) / box.height) * numRows);
      const column = Math.floor(((event.clientX - box.left) / box.width) * numColumns);
      const place = [Math.min(Math.max(row, 0), numRows - 1), Math.min(Math.max(column, 0), numColumns - 1)];
      if (now.place && place[0] === now.place[0] && place[1] === now.place[1]) return;
      now.place = place;
      if (now.held === null) update();
    });
    canvas.addEventListener("pointerleave", () => {
      now.place = null;
      if (now.held === null) update();
    });
    canvas.addEventListener("click", hold);
  });
}

function fillLegend() {
  const mix = (colours) => colours.map(([red, green, blue]) => `rgb(${red} ${green} ${blue})`);
  find("heat").style.background = `linear-gradient(to right, ${mix(history.heat).join(", ")})`;
  const bands = mix(history.palette.slice(0, 4)).map((colour, number) => `${colour} ${25 * number}% ${25 * number + 25}%`);
  find("swatches").style.background = `linear-gradient(to right, ${bands.join(", ")})`;
  if (!history.layers[0].saliency) find("saliency-caption").textContent = "No saliency: this method scores no tokens";
}

function fillTokens() {
  const most = Math.max(...history.layers.map((layer) => layer.tokensIn));
  find("of-each").textContent = `${history.numSequences > 1 ? "of each frame " : ""}in, and after every layer`;
  const fill = (bar, count) => {
    const height = `${(85 * count) / most}%`;
    make("i", "", bar).style.height = height;
    if (history.layers.length <= 12) make("span", count, bar).style.bottom = height;
  };
  fill(make("div", "", find("tokens")), history.layers[0].tokensIn);
  history.layers.forEach((layer, number) => {
    const bar = make("button", "", find("tokens"));
    bar.type = "button";
    bar.title = `layer ${layer.layer}: ${layer.tokensIn} tokens in, ${layer.tokensOut} out`;
    bar.setAttribute("aria-label", bar.title);
    fill(bar, layer.tokensOut);
    bar.addEventListener("click", () => goTo({ layer: number }));
  });
}

function fillAnswers() {
  const { plain, merged, cosine } = history;
  const table = find("answers");
  const addRow = (tag, cells) => {
    const row = make("tr", "", table);
    cells.forEach((cell) => make(tag, cell, row));
  };
  addRow("th", ["", "plain", "merged"]);
  addRow("td", ["GMACs", plain.gmacs, merged.gmacs]);
  const write = (answer, rank) => `${(100 * answer[rank].probability).toFixed(1)} % ${answer[rank].label}`;
  (plain.predictions ?? []).forEach((_, rank) => {
    addRow("td", [rank + 1, write(plain.predictions, rank), write(merged.predictions, rank)]);
  });
  addRow("td", ["cosine of the outputs", "", cosine.toFixed(4)]);
}

views.forEach(({ canvas }) => Object.assign(canvas, { width: pictures.width, height: pictures.height }));
find("frame").max = history.frames.length - 1;
find("layer").max = history.layers.length - 1;
fillLegend();
fillTokens();
fillAnswers();
listen();
document.querySelector("main").hidden = false;
update();
document.documentElement.dataset.ready = "true";
