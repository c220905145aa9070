/** The project's TypeScript files and what each one imports. */
import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'

/** The folders of the library, from the top layer down, with the lines each may have, which may only fall; undefined: not budgeted. */
export const budgets: Record<string, number | undefined> = {
  cli: undefined,
  bench: undefined,
  testing: undefined,
  diffusion: 5000,
  nn: 5159,
  engine: 13_780,
  kernels: 13_059,
}

export interface Import {
  /** As written between the quotes. */
  readonly specifier: string
  /** The file meant, relative to the root, if the specifier is relative. */
  readonly file: string | undefined
  /** `import type` and `export type`: gone when the program runs. */
  readonly typeOnly: boolean
}

export interface Source {
  readonly file: string
  readonly folder: string
  readonly text: string
  readonly lines: number
  readonly imports: readonly Import[]
}

const statement = /^\s*(?:import|export)\s+(type\s)?(?:[\w$*{},\s]+?\sfrom\s*)?'([^']+)'/gm
const call = /\bimport\(\s*'([^']+)'/g
const url = /\bnew URL\('(\.[^']+\.ts)', import\.meta\.url\)/g

export function parse(file: string, text: string): Source {
  const code = text.replaceAll(/^\s*(?:\/\/.*|\/?\*.*)$/gm, '')
  const at = (specifier: string, typeOnly: boolean): Import => ({
    specifier,
    file: specifier.startsWith('.') ? path.posix.join(path.posix.dirname(file), specifier) : undefined,
    typeOnly,
  })
  return {
    file,
    folder: file.split('/')[0] ?? '',
    text,
    lines: text.split('\n').length - 1,
    imports: [
      ...code.matchAll(statement).map((match) => at(match[2] ?? '', match[1] !== undefined)),
      ...code.matchAll(call).map((match) => at(match[1] ?? '', false)),
      // A worker's file runs in a context of its own: it is reached, but loading it is no import cycle.
      ...code.matchAll(url).map((match) => at(match[1] ?? '', true)),
    ],
  }
}

/** Every source in `folders`, sorted by path. */
export function sources(root: string, folders: readonly string[]): Source[] {
  const files = folders.flatMap((folder) => globSync(`${folder}/**/*.ts`, { cwd: root }))
  return files.sort().map((file) => parse(file.replaceAll(path.sep, '/'), readFileSync(path.join(root, file), 'utf8')))
}
