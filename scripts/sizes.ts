/** Prints gzip size of each entry point as a page would load it, what opening a device adds, and source lines by folder against their budgets. */
import path from 'node:path'
import { bundle } from './bundle.ts'
import { budgets, sources } from './sources.ts'

const root = path.resolve(import.meta.dirname, '..')
const kibibytes = (bytes: number): string => `${(bytes / 1024).toFixed(1).padStart(6)} KiB`

console.log('loaded by a page, minified                     gzip')
for (const entry of ['engine', 'nn', 'diffusion', 'kernels', 'testing']) {
  const { start, later } = await bundle(root, `${entry}/index.ts`)
  console.log(`  ${(entry === 'engine' ? 'langevin' : `langevin/${entry}`).padEnd(40)} ${kibibytes(start.gzip)}`)
  if (entry === 'engine') for (const [file, { gzip }] of later) console.log(`    and with ${file.padEnd(29)} ${kibibytes(gzip)}`)
}
const worker = await bundle(root, 'engine/device/cpu/worker.ts')
console.log(`  ${'each CPU thread'.padEnd(40)} ${kibibytes(worker.start.gzip)}`)

console.log('folder         files   lines  budget  longest file')
for (const [folder, budget] of Object.entries(budgets)) {
  const files = sources(root, [folder])
  const lines = files.reduce((sum, file) => sum + file.lines, 0)
  const longest = files.reduce((max, file) => Math.max(max, file.lines), 0)
  const over = budget !== undefined && lines > budget ? '  over budget' : ''
  const columns = [String(files.length).padStart(7), String(lines).padStart(7), String(budget ?? '').padStart(7), String(longest).padStart(13)]
  console.log(`  ${folder.padEnd(10)} ${columns.join(' ')}${over}`)
}
