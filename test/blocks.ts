/** The blocks of code in README.md and docs/. */
import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'

export const root: string = path.resolve(import.meta.dirname, '..')

export interface Block {
  /** Where it stands: `file:line`. */
  readonly name: string
  readonly code: string
  /** Whether tests run it. */
  readonly runs: boolean
}

function blocks(file: string): Block[] {
  const text = readFileSync(path.join(root, file), 'utf8')
  return [...text.matchAll(/^```ts( run)?\n([\s\S]*?)^```$/gm)].map((match) => ({
    name: `${file}:${text.slice(0, match.index).split('\n').length}`,
    code: match[2] ?? '',
    runs: match[1] !== undefined,
  }))
}

/** Each ```ts block of README.md, all of which run. */
export function readmeBlocks(): Block[] {
  return blocks('README.md').map((block) => ({ ...block, runs: true }))
}

/** Each ```ts block of docs/; those marked ```ts run are run. */
export function docsBlocks(): Block[] {
  return globSync('docs/**/*.md', { cwd: root }).sort().flatMap(blocks)
}
