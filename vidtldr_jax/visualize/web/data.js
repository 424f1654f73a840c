// What the page carries -> arrays. A map has one value per patch, in the order time, row, column.

const DROPPED = -1;
const NO_SALIENCY = 255; // the patch was dropped before

/** Decodes base64 into a typed array; all that the page holds is little-endian. */
function decode(ArrayType, base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new ArrayType(bytes.buffer);
}

/** Lists the patches of every token. */
function listMembers(group) {
  const members = new Map();
  group.forEach((token, patch) => {
    if (token === DROPPED) return;
    if (!members.has(token)) members.set(token, []);
    members.get(token).push(patch);
  });
  return members;
}

/** Reads the history; a layer that merged nothing shares the groups of the one before. */
function readHistory(text) {
  const history = JSON.parse(text);
  let held = null;
  history.layers = history.layers.map((layer) => {
    if (layer.group !== null) {
      const group = decode(Int32Array, layer.group);
      held = {
        group,
        weight: decode(Float32Array, layer.weight),
        colour: decode(Int8Array, layer.colour),
        members: listMembers(group),
      };
    }
    return { ...layer, ...held, saliency: layer.saliency && decode(Uint8Array, layer.saliency) };
  });
  return history;
}

/** Decodes the pictures into pixels, RGBA, one array per frame. */
async function readPictures(history) {
  const pictures = await Promise.all(
    history.frames.map(async (address) => {
      const image = new Image();
      image.src = address;
      await image.decode();
      return image;
    }),
  );
  const { naturalWidth: width, naturalHeight: height } = pictures[0];
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const frames = pictures.map((picture) => {
    pen.drawImage(picture, 0, 0);
    return pen.getImageData(0, 0, width, height).data;
  });
  return { width, height, frames };
}
