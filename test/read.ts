/** Files of the repository, from disk in Node and in pages from Vite, which serves them. */
export async function readBytes(file: string): Promise<Uint8Array<ArrayBuffer>> {
  if (typeof document === 'undefined') {
    const { readFile } = await import('node:fs/promises')
    return new Uint8Array(await readFile(new URL(`../${file}`, import.meta.url)))
  }
  const response = await fetch(`/${file}`)
  if (!response.ok) throw new Error(`${file}: ${response.status} ${response.statusText}`)
  return new Uint8Array(await response.arrayBuffer())
}

/** What a JSON file holds; the caller knows what that is. */
export async function readJson(file: string): Promise<unknown> {
  return JSON.parse(new TextDecoder().decode(await readBytes(file)))
}
