// How files come in: dropped anywhere (folders too), pasted, chosen, or the sample.

const $ = (id) => document.getElementById(id);

async function filesOf(entry) {
  if (entry.isFile) return new Promise((resolve) => entry.file((file) => resolve([file]), () => resolve([])));
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // A reader gives a hundred at a time.
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!some.length) break;
    found.push(...some.filter((one) => !one.name.startsWith(".")));
  }
  return (await Promise.all(found.map(filesOf))).flat();
}

async function filesIn(transfer) {
  // Entries must be taken before the event ends.
  const entries = [...transfer.items].map((one) => one.webkitGetAsEntry?.()).filter(Boolean);
  return entries.length ? (await Promise.all(entries.map(filesOf))).flat() : [...transfer.files];
}

async function sample() {
  const picture = await (await fetch($("sample").querySelector("img").src)).blob();
  return new File([picture], "sample.png", { type: picture.type });
}

// add gets an array of files; nothing is called when a drop had none.
export function takeFiles({ add, nothing }) {
  let depth = 0; // of the elements that the pointer is in: each of them tells
  const hasFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  const over = (now) => {
    depth = Math.max(0, now);
    document.body.classList.toggle("is-dropping", depth > 0);
  };
  document.addEventListener("dragenter", (event) => hasFiles(event) && over(depth + 1));
  document.addEventListener("dragleave", (event) => hasFiles(event) && over(depth - 1));
  document.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  document.addEventListener("drop", async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over(0);
    const files = await filesIn(event.dataTransfer);
    if (files.length) add(files);
    else nothing();
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) add([...event.clipboardData.files]);
  });
  for (const id of ["choose", "add"]) $(id).addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => {
    add([...$("files").files]);
    $("files").value = ""; // so that the same file can be chosen again
  });
  $("sample").addEventListener("click", async () => add([await sample()]));
}
