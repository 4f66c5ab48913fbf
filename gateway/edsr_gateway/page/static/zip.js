// A ZIP of files as they are (pictures do not shrink further): the archive is a Blob made of Blobs, so that their bytes
// are read once, for the checksum, and never copied. Past 4 GB it is a Zip64, which old programs do not read.

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

const sum = (numbers) => numbers.reduce((all, one) => all + one, 0);

async function crc32(blob, onBytes) {
  let crc = 0xffffffff;
  const reader = blob.stream().getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return (crc ^ 0xffffffff) >>> 0;
    for (let i = 0; i < value.length; i++) crc = TABLE[(crc ^ value[i]) & 255] ^ (crc >>> 8);
    onBytes(value.length);
  }
}

// Little-endian numbers one after another: [bytes, value], ...
function fields(...pairs) {
  const view = new DataView(new ArrayBuffer(sum(pairs.map(([size]) => size))));
  let at = 0;
  for (const [size, value] of pairs) {
    if (size === 8) view.setBigUint64(at, BigInt(value), true);
    else if (size === 4) view.setUint32(at, value, true);
    else view.setUint16(at, value, true);
    at += size;
  }
  return view.buffer;
}

const UTF8_NAMES = 0x0800;
const SEE_ZIP64 = 0xffffffff;

function stamp(date) {
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  return [time, (Math.max(0, date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate()];
}

// Two files of one name would overwrite each other when unpacked.
export function distinct(names) {
  const taken = new Set();
  return names.map((name) => {
    const [, stem, ending] = /^(.*?)(\.[^.]*)?$/s.exec(name.replace(/[\\/:*?"<>|\u0000-\u001f]/g, "_"));
    let one = stem + (ending || "");
    for (let n = 2; taken.has(one.toLowerCase()); n++) one = `${stem} (${n})${ending || ""}`;
    taken.add(one.toLowerCase());
    return one;
  });
}

// files: [{ name, blob }]; onBytes is called with every number of bytes that was read.
export async function zip(files, onBytes = () => {}, most = 0xffffffff) {
  const names = distinct(files.map((file) => file.name)).map((name) => new TextEncoder().encode(name));
  const isLarge = sum(files.map(({ blob }) => blob.size)) + sum(names.map((name) => 2 * name.length + 150)) > most;
  const extra = (...values) => (isLarge ? fields([2, 1], [2, 8 * values.length], ...values.map((v) => [8, v])) : fields());
  const short = (value) => [4, isLarge ? SEE_ZIP64 : value];
  const [time, date] = stamp(new Date());
  const parts = [];
  const entries = [];
  let at = 0;
  for (const [index, { blob }] of files.entries()) {
    const name = names[index];
    const crc = await crc32(blob, onBytes);
    const common = [[2, isLarge ? 45 : 20], [2, UTF8_NAMES], [2, 0], [2, time], [2, date], [4, crc]];
    common.push(short(blob.size), short(blob.size), [2, name.length]);
    const local = extra(blob.size, blob.size);
    const central = extra(blob.size, blob.size, at);
    const head = fields([4, 0x04034b50], ...common, [2, local.byteLength]);
    parts.push(head, name, local, blob);
    const rest = [[2, central.byteLength], [2, 0], [2, 0], [2, 0], [4, 0], short(at)];
    entries.push(fields([4, 0x02014b50], [2, isLarge ? 45 : 20], ...common, ...rest), name, central);
    at += head.byteLength + name.length + local.byteLength + blob.size;
  }
  const length = sum(entries.map((part) => part.byteLength));
  return new Blob([...parts, ...entries, ending(files.length, length, at, isLarge)], { type: "application/zip" });
}

// The end of the archive: where its directory of `count` files and `length` bytes is.
function ending(count, length, at, isLarge) {
  const large = [
    ...[[4, 0x06064b50], [8, 44], [2, 45], [2, 45], [4, 0], [4, 0], [8, count], [8, count], [8, length], [8, at]],
    ...[[4, 0x07064b50], [4, 0], [8, at + length], [4, 1]],
  ];
  const short = isLarge ? [0xffff, SEE_ZIP64, SEE_ZIP64] : [count, length, at];
  const end = [[4, 0x06054b50], [2, 0], [2, 0], [2, short[0]], [2, short[0]], [4, short[1]], [4, short[2]], [2, 0]];
  return fields(...(isLarge ? large : []), ...end);
}
