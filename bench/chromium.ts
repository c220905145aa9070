/**
 * The subjects of `langevin bench` in headless Chromium, in a cross-origin isolated page that Vite serves:
 *
 *   node bench/chromium.ts [--device cpu|webgpu] [--only PART] [--threads N] [--seconds S] [--json FILE] [--markdown FILE] [--torch-from FILE]
 *
 * `--torch-from` takes PyTorch's times from the JSON of `langevin bench cpu --torch` on the same machine into the files.
 */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { chromium } from 'playwright'
import { createServer } from 'vite'
import { commandLine, expectFiles, factsOf, titles, writeReport } from '../cli/bench.ts'
import { args, executablePath, isolation } from '../scripts/chromium.ts'
import type { PageOptions } from './page.ts'
import type { Report } from './run.ts'

const text = { type: 'string' } as const
const { values } = parseArgs({ options: { device: text, only: text, threads: text, seconds: text, json: text, markdown: text, 'torch-from': text } })
const { device = 'cpu', only, threads = String(availableParallelism()), seconds = '3', 'torch-from': torchFrom } = values
if (device !== 'cpu' && device !== 'webgpu') throw new Error(`--device is ${device}, but must be cpu or webgpu`)
if (executablePath === undefined) throw new Error('there is no Chromium; install it (apt-get install chromium), or set CHROMIUM to its path')
expectFiles(values)
const torch = torchFrom === undefined ? undefined : (JSON.parse(readFileSync(torchFrom, 'utf8')) as Report)

/** A page with nothing but the benchmark. Found only while it runs, tinybench would make Vite reload the page. */
const server = await createServer({
  root: path.resolve(import.meta.dirname, '..'),
  configFile: false, cacheDir: 'node_modules/.vite/bench', logLevel: 'error', appType: 'custom',
  server: { headers: { ...isolation }, watch: null },
  optimizeDeps: { include: ['tinybench'], noDiscovery: true },
  plugins: [{
    name: 'page',
    configureServer({ middlewares }) {
      middlewares.use('/page', (_, response) => {
        response.writeHead(200, { ...isolation, 'Content-Type': 'text/html' }).end('<!doctype html><script type="module" src="/bench/page.ts"></script>')
      })
    },
  }],
})

async function measure(browserPath: string, measured: 'cpu' | 'webgpu'): Promise<Report> {
  const browser = await chromium.launch({ executablePath: browserPath, args: [...args] })
  try {
    await server.listen()
    const options: PageOptions = { device: measured, only, threads: Number(threads), seconds: Number(seconds), facts: factsOf(`Chromium ${browser.version()}`) }
    const tab = await browser.newPage()
    tab.on('pageerror', (error) => console.error(error.message))
    await tab.exposeFunction('show', (line: string) => console.log(line))
    await tab.goto(`${server.resolvedUrls?.local[0] ?? ''}page`)
    await tab.waitForFunction(() => 'benchmark' in window)
    return await tab.evaluate((given) => window.benchmark(given), options)
  } finally {
    await browser.close()
    await server.close()
  }
}

const measured = await measure(executablePath, device)
const peers = new Map(torch?.measurements.map(({ name, peer }) => [name, peer]))
const report: Report = {
  ...measured,
  facts: [...measured.facts, ...(torch?.facts.filter(([name]) => name === 'software').map(([, value]) => ['PyTorch', `times of langevin bench cpu --torch on this machine: ${value}`] as const) ?? [])],
  measurements: measured.measurements.map((measurement) => {
    const peer = peers.get(measurement.name)
    return { ...measurement, ...(peer !== undefined && { peer }) }
  }),
}
await writeReport(report, values, `${titles[device]} in Chromium`, commandLine('node bench/chromium.ts'))
