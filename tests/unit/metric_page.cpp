// Prometheus' text format, as vmrig writes it.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "launcher/metrics/metric_page.hpp"
#include "tests/support/prometheus_text.hpp"

using namespace vmrig;
using vmrig::testing::PrometheusPage;
using vmrig::testing::read_prometheus;

namespace {

const MetricFamily kUp{"vmrig_up", MetricType::kGauge, "Whether it is up."};
const MetricFamily kReads{"vmrig_reads_total", MetricType::kCounter, "Reads."};

TEST_CASE("families stand together, each with its HELP and TYPE once, in the order they came") {
  MetricPage page;
  page.add(kUp, {{"vm", "a"}}, 1);
  page.add(kReads, {{"vm", "a"}, {"disk", "d0"}}, 12);
  page.add(kUp, {{"vm", "b"}}, 0);
  CHECK(page.text() ==
        "# HELP vmrig_up Whether it is up.\n"
        "# TYPE vmrig_up gauge\n"
        "vmrig_up{vm=\"a\"} 1\n"
        "vmrig_up{vm=\"b\"} 0\n"
        "# HELP vmrig_reads_total Reads.\n"
        "# TYPE vmrig_reads_total counter\n"
        "vmrig_reads_total{vm=\"a\",disk=\"d0\"} 12\n");
  CHECK(read_prometheus(page.text()).faults.empty());
}

TEST_CASE("what a label holds can't leave its quotes, nor drive a terminal") {
  MetricPage page;
  page.add(kUp, {{"vm", "quote\" backslash\\ newline\nescape\x1b[2J broken\xff\xc3 end"}}, 1);
  const std::string text = page.text();
  CHECK(text.find("vm=\"quote\\\" backslash\\\\ newline\\nescape") != std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(text.find('\xff') == std::string::npos);
  const PrometheusPage read = read_prometheus(text);
  CHECK(read.faults.empty());
  CHECK(read.samples.size() == 1);
  // An attempt to add a sample of one's own.
  MetricPage other;
  other.add(kUp, {{"vm", "x\"} 0\nvmrig_up{vm=\"y"}}, 1);
  CHECK(read_prometheus(other.text()).samples.size() == 1);
  CHECK(read_prometheus(other.text()).faults.empty());
}

TEST_CASE("values are what Go reads: whole, small, large, and none at all") {
  MetricPage page;
  page.add(kUp, {{"vm", "whole"}}, 4096);
  page.add(kUp, {{"vm", "large"}}, 18446744073709551615.0);
  page.add(kUp, {{"vm", "small"}}, 1.5e-9);
  page.add(kUp, {{"vm", "nan"}}, std::numeric_limits<double>::quiet_NaN());
  page.add(kUp, {{"vm", "inf"}}, -std::numeric_limits<double>::infinity());
  const std::string text = page.text();
  CHECK(text.find("{vm=\"whole\"} 4096\n") != std::string::npos);
  CHECK(text.find("{vm=\"small\"} 1.5e-09\n") != std::string::npos);
  CHECK(text.find("{vm=\"nan\"} NaN\n") != std::string::npos);
  CHECK(text.find("{vm=\"inf\"} -Inf\n") != std::string::npos);
  CHECK(read_prometheus(text).at("vmrig_up{vm=\"large\"}") == 18446744073709551615.0);
}

TEST_CASE("a sample that comes twice is there once, and the first one stays") {
  MetricPage page;
  page.add(kUp, {{"vm", "a"}}, 1);
  page.add(kUp, {{"vm", "a"}}, 0);
  const PrometheusPage read = read_prometheus(page.text());
  CHECK(read.faults.empty());
  CHECK(read.at("vmrig_up{vm=\"a\"}") == 1);
  MetricPage more;
  more.add(kUp, {{"vm", "a"}}, 5);
  more.add(kUp, {{"vm", "b"}}, 5);
  page.append(std::move(more));
  CHECK(read_prometheus(page.text()).at("vmrig_up{vm=\"a\"}") == 1);
  CHECK(read_prometheus(page.text()).at("vmrig_up{vm=\"b\"}") == 5);
}

TEST_CASE("the same samples as JSON") {
  MetricPage page;
  page.add(kReads, {{"vm", "a"}}, 12);
  CHECK(page.json() == Json::parse(R"([{"name": "vmrig_reads_total", "type": "counter",
      "help": "Reads.", "samples": [{"labels": {"vm": "a"}, "value": 12.0}]}])"));
}

TEST_CASE("the tests' own reader finds what Prometheus would refuse") {
  const std::string head = "# HELP vmrig_up H.\n# TYPE vmrig_up gauge\n";
  CHECK(read_prometheus(head + "vmrig_up{vm=\"a\"} 1\n").faults.empty());
  for (const char* bad :
       {"vmrig_up{vm=\"a\"} 1", "vmrig_up{vm=\"a} 1\n", "vmrig_up{vm=\"a\\x\"} 1\n",
        "vmrig_up{vm=\"a\",vm=\"b\"} 1\n", "vmrig_up{} 1\n", "vmrig_up one\n", "vmrig_down 1\n",
        "vmrig_up 1\nvmrig_up 2\n", "# TYPE vmrig_up gauge\nvmrig_up 1\n",
        "vmrig_up{vm=\"\xff\"} 1\n"}) {
    CHECK_MESSAGE(!read_prometheus(head + bad).faults.empty(), bad);
  }
  CHECK_FALSE(read_prometheus("# HELP x H.\n# TYPE x counter\nx 1\n").faults.empty());
}

}  // namespace
