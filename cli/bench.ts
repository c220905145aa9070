/** `langevin bench`: measures a device on the subjects of bench/, and PyTorch beside it. */
import { availableParallelism, cpus } from 'node:os'
import process from 'node:process'
import { choose, run } from '../bench/run.ts'
import type { Report } from '../bench/run.ts'
import { subjectsOf } from '../bench/subjects.ts'
import { markdown } from '../bench/table.ts'
import { cpuTarget, webgpuTarget } from '../bench/target.ts'
import type { BenchArguments } from './arguments.ts'
import { expectWritable, writeFile } from './files.ts'
import type { Output } from './progress.ts'
import { Torch } from './torch.ts'

export const titles = { cpu: 'CPU benchmark', webgpu: 'WebGPU benchmark' } as const

/** Measures, shows a table, and writes the files asked for; returns the exit code. */
export async function benchmark(options: BenchArguments, version: string, output: Output): Promise<number> {
  const { device, adapter, threads = availableParallelism(), seconds } = options
  const target = device === 'cpu' ? cpuTarget({ ...options, threads }) : webgpuTarget(adapter)
  const chosen = choose(subjectsOf(device), options.only)
  expectFiles(options)
  await using torch = options.torch === undefined ? undefined : await Torch.start(options.torch, device === 'cpu' ? threads : 'gpu')
  const software = `langevin ${version}, Node ${process.versions.node}, V8 ${process.versions.v8}${torch === undefined ? '' : `, PyTorch ${torch.version}${tuning()}`}`
  const report = await run({ subjects: chosen, target, seconds, peer: torch, facts: factsOf(software), show: (text) => void output.write(`${text}\n`) })
  await writeReport(report, options, titles[device], commandLine('langevin'))
  return 0
}

/** What made a report, without the files of the machine that it names. */
export function commandLine(name: string): string {
  const words = process.argv.slice(2)
  const isFile = /^--(?:json|markdown|python|torch-from)(?:=|$)/
  return [name, ...words.filter((word, i) => !isFile.test(word) && !(isFile.test(words[i - 1] ?? '') && words[i - 1]?.includes('=') !== true))].join(' ')
}

/** Settings of memory and threads that Python inherits: they can change PyTorch's times several times over. */
function tuning(): string {
  const set = Object.entries(process.env).filter(([name]) => /^(?:MALLOC_|OMP_|GOMP_|KMP_|MKL_|LD_PRELOAD$)/.test(name))
  return set.length === 0 ? ' as it comes' : ` with ${set.map(([name, value]) => `${name}=${value}`).join(' ')}`
}

interface Files {
  readonly json?: string | undefined
  readonly markdown?: string | undefined
}

/** Throws before anything is measured if the report could not be written. */
export function expectFiles({ json, markdown: page }: Files): void {
  for (const file of [json, page]) if (file !== undefined) expectWritable(file)
}

/** What a report begins with. */
export function factsOf(software: string): Report['facts'] {
  return [
    ['date', new Date().toISOString().slice(0, 10)],
    ['processor', `${cpus()[0]?.model.trim() ?? 'unknown'}, ${availableParallelism()} threads`],
    ['software', software],
  ]
}

/** The report in the files asked for, with the command that made it. */
export async function writeReport(report: Report, { json, markdown: page }: Files, title: string, command: string): Promise<void> {
  const [date = '', processor = ''] = report.facts.map(([, value]) => value)
  if (json !== undefined) await writeFile(json, `${JSON.stringify({ ...report, command }, null, 2)}\n`)
  if (page !== undefined) await writeFile(page, markdown(report, `${title}, ${date}, ${processor}`, command))
}
