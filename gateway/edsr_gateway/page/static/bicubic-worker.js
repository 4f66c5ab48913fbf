// Runs bicubic.js beside the page: { id, file, width, height } in, { id, bitmap } or { id, error } out.

import { bicubic } from "./bicubic.js";

self.onmessage = async ({ data: { id, file, width, height } }) => {
  try {
    const source = await createImageBitmap(file);
    const context = new OffscreenCanvas(source.width, source.height).getContext("2d", { willReadFrequently: true });
    context.drawImage(source, 0, 0);
    const { data } = context.getImageData(0, 0, source.width, source.height);
    const pixels = bicubic(data, source.width, source.height, width, height);
    const target = new OffscreenCanvas(width, height);
    target.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
    const bitmap = target.transferToImageBitmap();
    self.postMessage({ id, bitmap }, [bitmap]);
  } catch (error) {
    self.postMessage({ id, error: String(error) });
  }
};
