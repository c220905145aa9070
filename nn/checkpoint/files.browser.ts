/** Browsers have no paths; the twin of files.node.ts, chosen by package.json's `imports`. */
import type { Folder } from './files.ts'

/** A string that names a checkpoint: a URL, relative to the page. */
export async function locate(where: string): Promise<URL | { readonly folder: Folder; readonly file?: string }> {
  return new URL(where, globalThis.document?.baseURI ?? globalThis.location.href)
}
