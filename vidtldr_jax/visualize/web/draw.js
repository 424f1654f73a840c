// Pixels and maps -> pictures, by the rules of the Python that draws the video.

/** Calls `visit(patch, x, y)` for every pixel of one step in time. */
function visitPixels(pictures, grid, step, visit) {
  const [, rows, columns] = grid;
  const height = pictures.height / rows;
  const width = pictures.width / columns;
  for (let y = 0; y < pictures.height; y += 1) {
    const first = (step * rows + Math.floor(y / height)) * columns;
    for (let x = 0; x < pictures.width; x += 1) visit(first + Math.floor(x / width), x, y);
  }
}

function findGrey(pixels, at) {
  return (pixels[at] + pixels[at + 1] + pixels[at + 2]) / 3;
}

/** Colours a value of 0 to 1; `stops` lie at equal steps. */
function mapHeat(stops, value) {
  const place = value * (stops.length - 1);
  const low = Math.min(Math.floor(place), stops.length - 2);
  return stops[low].map((part, channel) => part + (stops[low + 1][channel] - part) * (place - low));
}

function paint(pictures, grid, step, choose) {
  const out = new ImageData(pictures.width, pictures.height);
  visitPixels(pictures, grid, step, (patch, x, y) => {
    const at = 4 * (y * pictures.width + x);
    const [red, green, blue] = choose(patch, at, x, y);
    out.data[at] = red;
    out.data[at + 1] = green;
    out.data[at + 2] = blue;
    out.data[at + 3] = 255;
  });
  return out;
}

function paintFrame(history, pictures, frame) {
  return new ImageData(pictures.frames[frame].slice(), pictures.width, pictures.height);
}

function paintSaliency(history, pictures, frame, layer) {
  const pixels = pictures.frames[frame];
  const { heatShare, droppedLight } = history.look;
  const heat = Array.from({ length: NO_SALIENCY }, (_, value) => mapHeat(history.heat, value / (NO_SALIENCY - 1)));
  return paint(pictures, history.grid, Math.floor(frame / history.tubelet), (patch, at) => {
    const grey = findGrey(pixels, at);
    const value = layer.saliency ? layer.saliency[patch] : 0;
    if (value === NO_SALIENCY) return Array(3).fill(grey * droppedLight);
    return heat[value].map((part) => grey * (1 - heatShare) + part * heatShare);
  });
}

/** Returns the colour of a dropped patch's pixel: dark, with a line from corner to corner. */
function crossOut(history, pictures, grey, x, y) {
  const [, rows, columns] = history.grid;
  const height = pictures.height / rows;
  const width = pictures.width / columns;
  const apart = Math.abs((y % height) * width + ((x % width) + 1) * height - height * width);
  return Array(3).fill(apart < Math.max(height, width) ? history.look.crossLight : grey * history.look.droppedLight);
}

function paintGroups(history, pictures, frame, layer) {
  const pixels = pictures.frames[frame];
  const [, rows, columns] = history.grid;
  const height = pictures.height / rows;
  const width = pictures.width / columns;
  const border = Math.max(Math.min(2, Math.floor(height / 4)), Math.floor(height / 14), 1);
  const step = Math.floor(frame / history.tubelet);
  // The token at a pixel; outside of the frame there is none.
  const findToken = (x, y) =>
    x < 0 || y < 0 || x >= pictures.width || y >= pictures.height
      ? DROPPED - 1
      : layer.group[(step * rows + Math.floor(y / height)) * columns + Math.floor(x / width)];
  return paint(pictures, history.grid, step, (patch, at, x, y) => {
    const grey = findGrey(pixels, at);
    const token = layer.group[patch];
    if (token === DROPPED) return crossOut(history, pictures, grey, x, y);
    if (layer.colour[patch] === DROPPED) return pixels.subarray(at, at + 3);
    const ink = history.palette[layer.colour[patch]];
    const isBorder = [[border, 0], [-border, 0], [0, border], [0, -border]].some(
      ([right, down]) => findToken(x + right, y + down) !== token,
    );
    if (isBorder) return ink;
    const share = history.look.tintShare;
    return ink.map((part) => grey * (1 - share) + part * share);
  });
}

/** Finds each group's mean: for each token an array over frames, rows and columns of a patch, and colours. */
function findMeans(history, pictures, layer) {
  const [, rows, columns] = history.grid;
  const height = pictures.height / rows;
  const width = pictures.width / columns;
  const means = new Map();
  layer.members.forEach((members, token) => {
    const sums = new Float32Array(history.tubelet * height * width * 3);
    let say = 0;
    members.forEach((patch) => {
      const weight = layer.weight[patch];
      say += weight;
      const [step, top, left] = locate(history, patch);
      let to = 0;
      for (let moment = 0; moment < history.tubelet; moment += 1) {
        const pixels = pictures.frames[step * history.tubelet + moment];
        for (let y = 0; y < height; y += 1) {
          let at = 4 * ((top * height + y) * pictures.width + left * width);
          for (let x = 0; x < width; x += 1, at += 4) {
            sums[to++] += weight * pixels[at];
            sums[to++] += weight * pixels[at + 1];
            sums[to++] += weight * pixels[at + 2];
          }
        }
      }
    });
    means.set(token, sums.map((sum) => sum / say));
  });
  return means;
}

/** Returns step in time, row and column of a patch. */
function locate(history, patch) {
  const [, rows, columns] = history.grid;
  return [Math.floor(patch / (rows * columns)), Math.floor(patch / columns) % rows, patch % columns];
}

function paintMeans(history, pictures, frame, layer) {
  const pixels = pictures.frames[frame];
  const [, rows, columns] = history.grid;
  const height = pictures.height / rows;
  const width = pictures.width / columns;
  layer.means ??= findMeans(history, pictures, layer);
  const first = (frame % history.tubelet) * height * width;
  return paint(pictures, history.grid, Math.floor(frame / history.tubelet), (patch, at, x, y) => {
    const token = layer.group[patch];
    if (token === DROPPED) return crossOut(history, pictures, findGrey(pixels, at), x, y);
    const from = 3 * (first + (y % height) * width + (x % width));
    return layer.means.get(token).subarray(from, from + 3);
  });
}

/** Outlines patches, in white on black, so that it is seen on every colour. */
function outline(pen, pictures, grid, patches) {
  const [, rows, columns] = grid;
  const height = pictures.height / rows;
  const width = pictures.width / columns;
  const inside = new Set(patches.map(([row, column]) => row * columns + column));
  const path = new Path2D();
  patches.forEach(([row, column]) => {
    const [left, top, right, bottom] = [column * width, row * height, (column + 1) * width, (row + 1) * height];
    const isIn = (r, c) => r >= 0 && c >= 0 && r < rows && c < columns && inside.has(r * columns + c);
    const sides = [
      [isIn(row - 1, column), left, top, right, top],
      [isIn(row + 1, column), left, bottom, right, bottom],
      [isIn(row, column - 1), left, top, left, bottom],
      [isIn(row, column + 1), right, top, right, bottom],
    ];
    sides.filter(([hidden]) => !hidden).forEach(([, x0, y0, x1, y1]) => {
      path.moveTo(x0, y0);
      path.lineTo(x1, y1);
    });
  });
  pen.lineCap = "square";
  [["#000000", 6], ["#ffffff", 3]].forEach(([colour, thickness]) => {
    pen.strokeStyle = colour;
    pen.lineWidth = (thickness * pictures.width) / 300;
    pen.stroke(path);
  });
}
