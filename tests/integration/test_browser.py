"""A real browser: the page at `/docs`, and pages of other origins."""

import contextlib
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as conditions
from selenium.webdriver.support.wait import WebDriverWait

import motet
from motet.testing import PATIENCE


class Doubler(motet.Service):
    """Doubles numbers."""

    @motet.endpoint
    def double(self, number: int) -> int:
        return 2 * number


@pytest.fixture
def browser(tmp_path):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking", "disable-sync"):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={tmp_path}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def requested(driver):
    """Return the URLs that the page has asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


@pytest.mark.browser
def test_an_endpoint_is_tried_from_the_page(browser):
    """The endpoint is listed, runs with the body that was typed, and nothing is fetched from elsewhere."""
    with motet.run(Doubler.bind(), port=0):
        (server,) = motet.status().result()
        wait = WebDriverWait(browser, PATIENCE)
        browser.get(f"{server.url}/docs")
        wait.until(conditions.element_to_be_clickable((By.CSS_SELECTOR, ".opblock-summary-control"))).click()
        assert "/double" in browser.find_element(By.CSS_SELECTOR, ".opblock-summary-path").text
        wait.until(conditions.element_to_be_clickable((By.CSS_SELECTOR, ".try-out__btn"))).click()
        body = wait.until(conditions.element_to_be_clickable((By.CSS_SELECTOR, "textarea.body-param__text")))
        body.clear()
        body.send_keys('{"number": 21}')
        browser.find_element(By.CSS_SELECTOR, "button.execute").click()
        answer = wait.until(conditions.visibility_of_element_located((By.CSS_SELECTOR, ".live-responses-table .highlight-code code")))
        assert answer.text == "42"
        foreign = [url for url in requested(browser) if not url.startswith((server.url, "data:", "blob:", "chrome", "about:"))]
        assert foreign == []


APP = """
import motet

class Doubler(motet.Service):
    @motet.endpoint
    def double(self, number: int) -> int:
        return 2 * number

app = Doubler.bind()
"""


@pytest.fixture
def serve(tmp_path):
    """Start servers that ask for a key; returns their URLs."""
    (tmp_path / "app.py").write_text(APP)
    with contextlib.ExitStack() as stack:

        def start(*options):
            command = [sys.executable, "-m", "motet.cli", "serve", "app.py:app", "--port", "0", "--api-key", "schlüssel", *options]
            server = stack.enter_context(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True))
            stack.callback(server.stdout.read)
            stack.callback(server.terminate)
            line = next(line for line in server.stdout if "is served at" in line)
            return re.search(r"served at (\S+)", line).group(1)

        yield start


@pytest.fixture
def page():
    """The URL of an empty page of another origin."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()

        def log_message(self, *args):
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.browser
def test_the_page_asks_for_a_key(browser, serve):
    """Nothing of the app is shown without one; with it endpoints are listed and run."""
    wait = WebDriverWait(browser, PATIENCE)
    browser.get(f"{serve()}/docs")
    field = wait.until(conditions.visibility_of_element_located((By.CSS_SELECTOR, "#key input")))
    assert "double" not in browser.page_source
    field.send_keys("wrong\n")
    wait.until(conditions.visibility_of_element_located((By.ID, "wrong")))
    field.clear()
    field.send_keys("schlüssel\n")
    wait.until(conditions.element_to_be_clickable((By.CSS_SELECTOR, ".opblock-summary-control"))).click()
    assert not browser.find_element(By.ID, "key").is_displayed()
    wait.until(conditions.element_to_be_clickable((By.CSS_SELECTOR, ".try-out__btn"))).click()
    wait.until(conditions.element_to_be_clickable((By.CSS_SELECTOR, "button.execute"))).click()
    answer = wait.until(conditions.visibility_of_element_located((By.CSS_SELECTOR, ".live-responses-table .highlight-code code")))
    assert answer.text == "0"


CALL = """
const [url, number, done] = arguments;
const headers = {"content-type": "application/json", "x-api-key": "schl\u00c3\u00bcssel"};
const options = {method: "POST", headers, body: JSON.stringify({number})};
fetch(url, options).then(
  async (answer) => done([answer.status, answer.headers.get("x-request-id") !== null, await answer.json()]),
  (error) => done([error.name]));
"""


@pytest.mark.browser
def test_a_page_of_another_origin(browser, serve, page):
    """It can call a server that lets it in, and read answers and errors; of any other it reads nothing."""
    browser.get(page)
    url = serve("--cors", page, "--gzip")
    assert browser.execute_async_script(CALL, f"{url}/double", 21) == [200, True, 42]
    status, has_id, body = browser.execute_async_script(CALL, f"{url}/double", "x")
    assert (status, has_id, body["error"]["type"]) == (422, True, "InvalidInput")
    assert browser.execute_async_script(CALL, f"{url}/nope", 1)[0] == 404
    for options in ((), ("--cors", "https://other.example")):
        assert browser.execute_async_script(CALL, f"{serve(*options)}/double", 21) == ["TypeError"]
