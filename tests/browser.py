"A browser without a window, where Chromium, its driver and Selenium are installed, and a port for what it looks at."

import shutil
import socket

import pytest

chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
driver = shutil.which('chromedriver')
quiet = (
    'headless=new',
    'no-sandbox',
    'disable-gpu',
    'disable-quic',
    'no-first-run',
    'disable-background-networking',
    'disable-component-update',
    'disable-sync',
    'disable-dev-shm-usage',
)


def start(profile, *more):
    "Chromium with an empty profile, which keeps what pages write to the console; skips where it cannot be had."
    webdriver = pytest.importorskip('selenium.webdriver', reason='selenium is missing: it comes with the dev extra')
    if not chromium or not driver:
        pytest.skip('chromium or chromedriver is missing: apt-get install chromium chromium-driver')
    o = webdriver.ChromeOptions()
    o.binary_location = chromium
    for a in (*quiet, f'user-data-dir={profile}', *more):
        o.add_argument(f'--{a}')
    o.set_capability('goog:loggingPrefs', dict(browser='ALL'))
    return webdriver.Chrome(o, webdriver.ChromeService(driver))


def free_port():
    with socket.socket() as s:
        s.bind(('localhost', 0))
        return s.getsockname()[1]
