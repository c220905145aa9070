/** The benchmark in a page, which chromium.ts opens and asks. */
import { choose, run } from './run.ts'
import type { Report } from './run.ts'
import { subjectsOf } from './subjects.ts'
import { cpuTarget, webgpuTarget } from './target.ts'

export interface PageOptions {
  readonly device: 'cpu' | 'webgpu'
  readonly only: string | undefined
  readonly threads: number
  readonly seconds: number
  readonly facts: Report['facts']
}

declare global {
  interface Window {
    /** What chromium.ts does with a line of the report. */
    show: (text: string) => void
    benchmark: (options: PageOptions) => Promise<Report>
  }
}

window.benchmark = async ({ device, only, threads, ...options }) => {
  if (!window.crossOriginIsolated) throw new Error('the page is not cross-origin isolated, so threads cannot share memory; serve it with COOP and COEP headers')
  return run({ ...options, target: device === 'cpu' ? cpuTarget({ threads, experimental: true }) : webgpuTarget(), subjects: choose(subjectsOf(device), only), show: window.show })
}
