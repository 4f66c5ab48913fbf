// Results become files of the user's: one, or all as a ZIP.

import { zip } from "./zip.js";

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The browser has to have begun; nothing tells when.
  setTimeout(() => URL.revokeObjectURL(link.href), 60e3);
}

export const saveOne = save;

// files: [{ name, blob }]; progress gets 0 to 1.
export async function saveAll(files, progress) {
  const total = files.reduce((sum, { blob }) => sum + blob.size, 0) || 1;
  let read = 0;
  const archive = await zip(files, (count) => progress((read += count) / total));
  save(archive, "edsr.zip");
}
