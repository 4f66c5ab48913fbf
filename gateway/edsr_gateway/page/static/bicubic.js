// Bicubic resampling: Keys' kernel with a = -0.5, as Pillow's BICUBIC and MATLAB's imresize have it, widened where the
// picture becomes smaller. RGBA, 8 bits; rounded between the passes, as Pillow does.

const A = -0.5;

function kernel(x) {
  const d = Math.abs(x);
  if (d < 1) return ((A + 2) * d - (A + 3)) * d * d + 1;
  return d < 2 ? ((A * d - 5 * A) * d + 8 * A) * d - 4 * A : 0;
}

// For each of `to` places: where its first source pixel lies and the weights from there on.
function taps(from, to) {
  const step = from / to;
  const widened = Math.max(step, 1);
  const reach = 2 * widened;
  return Array.from({ length: to }, (_, at) => {
    const centre = (at + 0.5) * step;
    const first = Math.max(0, Math.floor(centre - reach + 0.5));
    const last = Math.min(from, Math.floor(centre + reach + 0.5));
    const weights = new Float64Array(last - first);
    let sum = 0;
    for (let i = 0; i < weights.length; i++) sum += weights[i] = kernel((first + i - centre + 0.5) / widened);
    for (let i = 0; i < weights.length; i++) weights[i] /= sum;
    return { first, weights };
  });
}

function premultiply(pixels) {
  const out = new Uint8ClampedArray(pixels);
  for (let i = 3; i < out.length; i += 4) {
    const alpha = out[i];
    if (alpha === 255) continue;
    for (let c = i - 3; c < i; c++) out[c] = (out[c] * alpha) / 255;
  }
  return out;
}

function unpremultiply(pixels) {
  for (let i = 3; i < pixels.length; i += 4) {
    const alpha = pixels[i];
    if (alpha === 255 || alpha === 0) continue;
    for (let c = i - 3; c < i; c++) pixels[c] = (pixels[c] * 255) / alpha;
  }
  return pixels;
}

function rows(pixels, width, height, to) {
  const out = new Uint8ClampedArray(to * height * 4);
  const plan = taps(width, to);
  for (let y = 0, o = 0; y < height; y++) {
    const row = y * width * 4;
    for (let x = 0; x < to; x++, o += 4) {
      const { first, weights } = plan[x];
      let r = 0, g = 0, b = 0, a = 0;
      for (let k = 0, i = row + first * 4; k < weights.length; k++, i += 4) {
        const w = weights[k];
        r += w * pixels[i];
        g += w * pixels[i + 1];
        b += w * pixels[i + 2];
        a += w * pixels[i + 3];
      }
      out[o] = r;
      out[o + 1] = g;
      out[o + 2] = b;
      out[o + 3] = a;
    }
  }
  return out;
}

function columns(pixels, width, height, to) {
  const out = new Uint8ClampedArray(width * to * 4);
  const stride = width * 4;
  const sums = new Float64Array(stride);
  taps(height, to).forEach(({ first, weights }, y) => {
    sums.fill(0);
    for (let k = 0; k < weights.length; k++) {
      const w = weights[k];
      const row = (first + k) * stride;
      for (let i = 0; i < stride; i++) sums[i] += w * pixels[row + i];
    }
    out.set(sums, y * stride);
  });
  return out;
}

// pixels: RGBA of width x height; the answer is RGBA of toWidth x toHeight.
export function bicubic(pixels, width, height, toWidth, toHeight) {
  const wide = rows(premultiply(pixels), width, height, toWidth);
  return unpremultiply(columns(wide, toWidth, height, toHeight));
}
