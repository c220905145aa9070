/** The blocks of code in README.md and docs/ that tests run. */
import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'

export const root: string = path.resolve(import.meta.dirname, '..')

export interface Block {
  /** Where it stands: `file:line`. */
  readonly name: string
  readonly code: string
}

function blocks(file: string, fence: RegExp): Block[] {
  const text = readFileSync(path.join(root, file), 'utf8')
  return [...text.matchAll(fence)].map((match) => ({
    name: `${file}:${text.slice(0, match.index).split('\n').length}`,
    code: match[1] ?? '',
  }))
}

/** Each ```ts block of README.md. */
export function readmeBlocks(): Block[] {
  return blocks('README.md', /^```ts\n([\s\S]*?)^```$/gm)
}

/** Each block of docs/ marked ```ts run. */
export function docsBlocks(): Block[] {
  return globSync('docs/**/*.md', { cwd: root })
    .sort()
    .flatMap((file) => blocks(file, /^```ts run\n([\s\S]*?)^```$/gm))
}
