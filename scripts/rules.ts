/** The project's rules that neither the compiler nor the linter knows: layers, twins, platform purity, file size, hosts. */
import { globSync, readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { budgets, sources } from './sources.ts'
import type { Import, Source } from './sources.ts'

const library = Object.keys(budgets)
const maxLines = 400

/** Programs for who works on the library: no part of it, they may import what they like. */
const program = /^bench\/(?:.*\.bench|chromium)\.ts$/

/** What each layer may import besides itself: only what lies below it. */
const below: Record<string, readonly string[]> = {
  kernels: [],
  engine: ['kernels'],
  nn: ['engine', 'kernels'],
  diffusion: ['nn', 'engine', 'kernels'],
  testing: ['nn', 'engine', 'kernels'],
  bench: ['diffusion', 'nn', 'engine', 'kernels'],
  cli: ['bench', 'diffusion', 'testing', 'nn', 'engine', 'kernels'],
}

/** What each family of kernels may import besides itself, `ir` and the `core` of its own target. */
const families: Record<string, readonly string[]> = { ir: [], core: [], elementwise: [], reduce: [], indexing: [], matmul: [], conv: ['matmul'], norm: [], attention: [], optim: [] }

/** Packages that a part of the library may import: optional peers, and what the command line's build includes. */
const peers: readonly { readonly name: string; readonly from: RegExp }[] = [
  { name: 'webgpu', from: /\.node\.ts$/ },
  { name: 'fast-check', from: /^testing\// },
  { name: 'tinybench', from: /^bench\// },
]

// Written so that this file does not contain what it looks for.
const banned: readonly { readonly pattern: RegExp; readonly why: string }[] = [
  { pattern: /\b(?:TO\x44O|FIX\x4dE)\b/, why: 'a note to do something later: do it, or open an issue' },
  { pattern: /:\s*an\x79\b(?=\s*[;,)=|>\]}]|\s*$)/m, why: 'the type that turns checking off' },
  { pattern: /\bas\s+an\x79\b/, why: 'the cast that turns checking off' },
  { pattern: /@ts-ig\x6eore/, why: 'a type error kept quiet' },
]

function onlyNode(source: Source): boolean {
  return source.folder === 'cli' || source.file.endsWith('.node.ts')
}

/** `kernels/wasm/conv/tile.ts` is of the family `conv` of the target `wasm`, `kernels/ir/domain.ts` of `ir` and of no target. */
function familyOf(file: string): { readonly target: string; readonly family: string } | undefined {
  const [folder, first = '', second = '', third] = file.split('/')
  if (folder !== 'kernels' || second === '') return undefined
  return third === undefined ? { target: '', family: first } : { target: first, family: second }
}

function checkFamily(from: string, to: string): string | undefined {
  const [source, used] = [familyOf(from), familyOf(to)]
  if (source === undefined) return undefined
  const allowed = families[source.family]
  if (allowed === undefined) return `is of no known family of kernels: ${Object.keys(families).join(', ')}`
  if (used?.family === 'ir' || (used?.target === source.target && [source.family, 'core', ...allowed].includes(used.family))) return undefined
  return `imports ${to}: ${source.family} may import only ${[...new Set([source.family, ...allowed, 'core', 'ir'])].join(', ')}, of its own target`
}

function checkImport(source: Source, { specifier, file, typeOnly }: Import): string | undefined {
  if (file !== undefined) {
    const target = file.split('/')[0] ?? ''
    if (!file.endsWith('.ts') && !file.endsWith('.json')) return `imports ${specifier}: write the extension .ts`
    if (target !== source.folder && !below[source.folder]?.includes(target)) {
      return `imports ${file}: ${source.folder}/ may import only ${[source.folder, ...(below[source.folder] ?? [])].join(', ')}`
    }
    const astray = checkFamily(source.file, file)
    if (astray !== undefined) return astray
    const twin = /\.(node|browser)\.ts$/.exec(file)?.[1]
    if (twin !== undefined && !typeOnly && !source.file.endsWith(`.${twin}.ts`) && !(twin === 'node' && onlyNode(source))) {
      return `imports ${specifier}: import it by its # name of package.json, which picks the twin`
    }
    return undefined
  }
  if (specifier.startsWith('#')) return undefined
  if (specifier.startsWith('node:')) {
    return onlyNode(source) ? undefined : `imports ${specifier}: Node's modules belong in *.node.ts, with a *.browser.ts twin`
  }
  if (peers.some(({ name, from }) => name === specifier && from.test(source.file))) return undefined
  return `imports ${specifier}: the library has no dependencies`
}

/** Each cycle of imports that remain at run time, as the files along it. */
export function cycles(all: readonly Source[]): string[][] {
  const byFile = new Map(all.map((source) => [source.file, source]))
  const done = new Set<string>()
  const found: string[][] = []
  function visit(file: string, trail: readonly string[]): void {
    const start = trail.indexOf(file)
    if (start >= 0) found.push([...trail.slice(start), file])
    if (start >= 0 || done.has(file)) return
    for (const { file: next, typeOnly } of byFile.get(file)?.imports ?? []) {
      if (next !== undefined && !typeOnly) visit(next, [...trail, file])
    }
    done.add(file)
  }
  for (const { file } of all) visit(file, [])
  return found
}

/** Rules on what the library's files may import. */
export function importProblems(all: readonly Source[]): string[] {
  const broken = all.flatMap((source) =>
    source.imports.map((item) => checkImport(source, item)).filter((problem) => problem !== undefined).map((problem) => `${source.file} ${problem}`),
  )
  return [...broken, ...cycles(all).map((cycle) => `import cycle: ${cycle.join(' -> ')}`)]
}

function textProblems({ file, text, lines }: Source): string[] {
  const problems = banned.flatMap(({ pattern, why }) => {
    const match = pattern.exec(text)
    if (match === null) return []
    return [`${file}:${text.slice(0, match.index).split('\n').length} '${match[0].trim()}' is ${why}`]
  })
  return lines > maxLines ? [...problems, `${file} has ${lines} lines: at most ${maxLines}, it is probably two ideas`] : problems
}

/** A `*.node.ts` of the library needs its `*.browser.ts`, and both a `#` name that picks between them. */
function twinProblems(root: string, all: readonly Source[]): string[] {
  const manifest = readFileSync(path.join(root, 'package.json'), 'utf8')
  const files = new Set(all.map(({ file }) => file))
  return [...files].flatMap((file) => {
    const match = /^(.*)\.(node|browser)\.ts$/.exec(file)
    if (match === null || file.startsWith('cli/')) return []
    const twin = `${match[1]}.${match[2] === 'node' ? 'browser' : 'node'}.ts`
    if (!files.has(twin)) return [`${file} has no twin ${twin}`]
    return manifest.includes(`"./${file}"`) ? [] : [`${file} is not among the "imports" of package.json`]
  })
}

/** Folders that grew beyond their lines. */
export function budgetProblems(all: readonly Source[]): string[] {
  return Object.entries(budgets).flatMap(([folder, budget = Infinity]) => {
    const lines = all.filter((source) => source.folder === folder).reduce((sum, source) => sum + source.lines, 0)
    return lines > budget ? [`${folder}/ has ${lines} lines: at most ${budget}, and that may only fall; make something else shorter`] : []
  })
}

function lockProblems(root: string): string[] {
  const lock = readFileSync(path.join(root, 'package-lock.json'), 'utf8')
  return /"resolved": "http/.test(lock) ? ['package-lock.json names a registry: see .npmrc'] : []
}

/** Where packages come from is for the machine's own configuration to say. */
const packageHosts = /(?<![\w-])(?:[\w-]+\.)*(?:debian\.org|ubuntu\.com|alpinelinux\.org|fedoraproject\.org|archlinux\.org|npmjs\.(?:org|com)|npmmirror\.com|yarnpkg\.com|jsr\.io|unpkg\.com|jsdelivr\.net|esm\.sh|skypack\.dev|pypi\.org|pythonhosted\.org|download\.pytorch\.org|anaconda\.(?:org|com)|conda\.io|docker\.(?:io|com)|ghcr\.io|quay\.io|mcr\.microsoft\.com|crates\.io|rubygems\.org|maven\.org|nuget\.org|proxy\.golang\.org)(?![\w-])/gi

/** The hosts of packages that a text names, a line each. */
export function hostProblems(file: string, text: string): string[] {
  return [...text.matchAll(packageHosts)].map(({ 0: host, index }) => `${file}:${text.slice(0, index).split('\n').length} names ${host}, where packages come from: leave that to the configuration of the machine`)
}

/** Every file but what git ignores and what is no text. */
function texts(root: string): string[] {
  const ignored = new Set(['.git', ...readFileSync(path.join(root, '.gitignore'), 'utf8').split('\n').map((line) => line.replace(/\/$/, ''))])
  const walk = (folder: string): string[] => readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const file = path.posix.join(folder, entry.name)
    if (ignored.has(entry.name) || /\.(?:u8|png|safetensors|tgz|tsbuildinfo)$/.test(file)) return []
    return entry.isDirectory() ? walk(file) : entry.isFile() ? [file] : []
  })
  return walk('')
}

/** Everything that breaks a rule, a line each; empty when all is well. */
export function problems(root: string): string[] {
  const all = sources(root, library)
  const code = all.filter(({ file }) => !program.test(file))
  const folders = ['test', 'scripts', 'examples', 'playground'].filter((folder) => globSync(folder, { cwd: root }).length > 0)
  const rest = sources(root, folders)
  const hosts = texts(root).flatMap((file) => hostProblems(file, readFileSync(path.join(root, file), 'utf8')))
  return [...hosts, ...importProblems(code), ...twinProblems(root, code), ...budgetProblems(all), ...[...all, ...rest].flatMap(textProblems), ...lockProblems(root)]
}

if (import.meta.main) {
  const found = problems(path.resolve(import.meta.dirname, '..'))
  for (const problem of found) console.error(problem)
  process.exitCode = found.length > 0 ? 1 : 0
}
