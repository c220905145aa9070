/** Three projects: Node, and two Chromium pages, with and without cross-origin isolation (shared memory needs it). */
import { playwright } from '@vitest/browser-playwright'
import { defineConfig } from 'vitest/config'
import type { TestProjectConfiguration, ViteUserConfig } from 'vitest/config'
import * as chromium from './scripts/chromium.ts'

const browserTests = 'test/browser/**/*.test.ts'

const node: TestProjectConfiguration = {
  test: { name: 'node', include: ['test/**/*.test.ts'], exclude: [browserTests], testTimeout: 30_000 },
}

function browser(executablePath: string, isolated: boolean): TestProjectConfiguration {
  return {
    server: { headers: isolated ? { ...chromium.isolation } : {} },
    // Found only while a test runs, it would make Vite reload the page under the test.
    optimizeDeps: { include: ['fast-check', 'tinybench'] },
    test: {
      name: isolated ? 'browser-isolated' : 'browser',
      include: [browserTests],
      testTimeout: 60_000,
      provide: { isolated },
      browser: {
        enabled: true,
        headless: true,
        screenshotFailures: false,
        provider: playwright({ launchOptions: { executablePath, args: [...chromium.args] } }),
        instances: [{ browser: 'chromium' }],
      },
    },
  }
}

/** Stands in for a browser project and lists its tests as skipped, so that they are missed and counted. */
function missing(name: string): TestProjectConfiguration {
  return { test: { name, include: ['test/no-chromium.ts'] } }
}

if (chromium.executablePath === undefined) {
  console.warn('\nNO CHROMIUM: every test in test/browser is SKIPPED. Install chromium, or set CHROMIUM to its path.\n')
}

const configuration: ViteUserConfig = defineConfig({
  test: {
    projects:
      chromium.executablePath === undefined
        ? [node, missing('browser'), missing('browser-isolated')]
        : [node, browser(chromium.executablePath, false), browser(chromium.executablePath, true)],
  },
})
export default configuration

declare module 'vitest' {
  interface ProvidedContext {
    isolated: boolean
  }
}
