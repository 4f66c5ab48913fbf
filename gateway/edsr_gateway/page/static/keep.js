// What a reload must not lose: the ids of the jobs (this tab's session) and the pictures they were made from, which the
// comparison needs (IndexedDB, until the server forgets the job too). Where storage is forbidden, nothing is kept.

const JOBS = "edsr-jobs";

export function savedJobs() {
  try {
    const saved = JSON.parse(sessionStorage.getItem(JOBS) || "[]");
    return Array.isArray(saved) ? saved.filter((one) => /^[\w-]+$/.test(one.job)) : [];
  } catch {
    return [];
  }
}

export function saveJobs(jobs) {
  try {
    sessionStorage.setItem(JOBS, JSON.stringify(jobs));
  } catch {
    // A reload then starts anew.
  }
}

let opening;

function database() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("edsr-originals", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("files", { keyPath: "job" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

async function inStore(mode, use) {
  try {
    const store = (await database()).transaction("files", mode).objectStore("files");
    return await new Promise((resolve, reject) => {
      const request = use(store);
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  } catch {
    return undefined;
  }
}

export const keepFile = (job, file, expires) => inStore("readwrite", (store) => store.put({ job, file, expires }));
export const forgetFile = (job) => inStore("readwrite", (store) => store.delete(job));
export const keptFile = async (job) => (await inStore("readonly", (store) => store.get(job)))?.file;

export async function forgetExpired() {
  for (const { job, expires } of (await inStore("readonly", (store) => store.getAll())) || []) {
    if (!(expires > Date.now())) await forgetFile(job);
  }
}
