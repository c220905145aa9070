/** Prints gzip size of each entry point as a page would load it, and source lines by folder against their budgets. */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { budgets, sources } from './sources.ts'

const root = path.resolve(import.meta.dirname, '..')

interface Manifest {
  readonly exports: Record<string, string | { readonly browser: string }>
}

/** The file behind each subpath of the package, as bundlers for browsers resolve it. */
function browserEntries(): [name: string, file: string][] {
  const { exports } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as Manifest
  return Object.entries(exports).flatMap(([name, target]) =>
    typeof target === 'string' ? [] : [[path.posix.join('langevin', name), target.browser] satisfies [string, string]],
  )
}

async function gzipSize(file: string): Promise<number> {
  const { outputFiles } = await build({
    entryPoints: [path.join(root, file)],
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    external: ['fast-check'],
    logLevel: 'error',
  })
  return outputFiles.reduce((bytes, { contents }) => bytes + gzipSync(contents).length, 0)
}

console.log('entry point, minified with all it imports       gzip')
const entries: [name: string, file: string][] = [...browserEntries(), ['cpu-worker.js', './dist/browser/cpu-worker.js']]
for (const [name, file] of entries) {
  console.log(`  ${name.padEnd(40)} ${((await gzipSize(file)) / 1024).toFixed(1).padStart(6)} KiB`)
}

console.log('folder         files   lines  budget  longest file')
for (const [folder, budget] of Object.entries(budgets)) {
  const files = sources(root, [folder])
  const lines = files.reduce((sum, file) => sum + file.lines, 0)
  const longest = files.reduce((max, file) => Math.max(max, file.lines), 0)
  const over = budget !== undefined && lines > budget ? '  over budget' : ''
  const columns = [String(files.length).padStart(7), String(lines).padStart(7), String(budget ?? '').padStart(7), String(longest).padStart(13)]
  console.log(`  ${folder.padEnd(10)} ${columns.join(' ')}${over}`)
}
