import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/**
 * Writes down what a JVM answers for a list of patterns, texts and replacements:
 * {@code java tests/java/PatternTable.java > crates/flow/src/pattern/java.jsonl}
 *
 * The first line has the texts. Then a line for each pattern: for each text all matches as byte
 * ranges, the groups of the first match behind a bar, and an M when the whole text matches; or
 * {@code "error"} when Java does not take the pattern.
 */
public class PatternTable {
  static final String[] TEXTS = {
    "", "a", "A", "b", "ab", "aab", "baac", "abcabc", "ABCabc", "foo bar", " foo\tbar ",
    "x=1, y = 22;z=333", "2026-11-21 18:36:03,123 ERROR [main] c.e.App - boom: code=42",
    "<34>Oct 11 22:14:15 mymachine su: 'su root' failed", "192.168.0.1", "line1\nline2\nline3",
    "line1\r\nline2\r\n", "end\n", "end\r", "end\u0085", "end\u2028", "\n", "\r\n", "a\u00e9\u00c9k\u212a",
    "\u4e2d\u6587 log \u65e5\u672c", "\u0663\u0664 12", "\u2603 bug", "tab\there", "(paren)[brack]{brace}",
    "a.b*c+d?e^f$g|h\\i", "<<aa>>", "_under-score", "aaa", "aaaa", "\u00a0x\u3000y", "ff\fvv\u000b", "it's \"q\"",
    "a-b_c", "k=v&k2=v2&&", "\u0130i\u0131I", "user@example.com", "/var/log/app.log.1", "abab", "cd", "#x y"
  };

  static final String[] PATTERNS = {
    "", "a", "ab", "a|b", "a|ab", "(a|ab)(c|bcd)?", "a*", "a+", "a?", "a*?", "a+?", "a??", "a{2}", "a{2,}", "a{1,2}",
    "a{1,2}?", "a*+", "a++", "a?+", "a++a", "(?>a*)a", ".", ".*", ".+", "^", "$", "^a", "b$", "^$", "e$", "\\Z", "\\z",
    "\\A", "e\\Z", "e\\z", "(?m)^", "(?m)$", "(?m)^line\\d$", "(?s).", "(?s).*", "(?d).", "(?d)$", "(?dm)^", "(?dm)$", "(?sm)^.*$",
    "\\d", "\\D+", "\\w+", "\\W+", "\\s+", "\\S+", "\\h+", "\\H+", "\\v", "\\V+", "\\R", "\\bfoo\\b", "\\Bo", "\\b", "\\B",
    "[abc]", "[^abc]+", "[a-c]+", "[a-cx-z]+", "[^a-z]+", "[]a]", "[^]a]+", "[a-]", "[-a]", "[a\\-b]+", "[a-z&&[^bc]]+",
    "[a-z&&[def]]+", "[a-z&&def]+", "[a-d[m-p]]+", "[^a-d[m-p]]+", "[\\d.]+", "[\\w-]+", "[\\W]", "[^\\s]+", "[\\p{L}]+",
    "[\\[\\]]", "[&]", "[a&b]+", "[.$^|?*+]", "[\\\\]", "[~-]", "[#]", "[a-z--c]", "[\\s\\S]+", "[\\x41-\\x43]+", "[ab[cd]&&[bc]]+",
    "\\p{Lower}+", "\\p{Upper}+", "\\p{Alpha}+", "\\p{Digit}+", "\\p{Alnum}+", "\\p{Punct}+", "\\p{Graph}+", "\\p{Print}+", "\\p{Blank}+",
    "\\p{Cntrl}+", "\\p{XDigit}+", "\\p{Space}+", "\\p{ASCII}+", "\\p{L}+", "\\pL+", "\\PL+", "\\p{Lu}+", "\\p{IsAlphabetic}+", "\\p{IsLatin}+",
    "\\p{IsHan}+", "\\p{script=Han}+", "\\p{sc=Latin}+", "\\p{gc=Nd}+", "\\p{general_category=Lu}", "\\p{javaLowerCase}+", "\\p{javaUpperCase}+",
    "\\p{javaWhitespace}+", "\\p{IsWhite_Space}+", "\\P{Lu}+", "\\p{Nd}+", "\\p{N}+", "\\p{So}", "\\p{IsPunctuation}+", "\\p{L1}+", "\\p{IsDigit}+",
    "\\p{javaLetterOrDigit}+", "\\p{IsLetter}+", "\\p{IsUppercase}", "\\p{Sc}", "\\p{LD}+", "\\p{LC}+",
    "(?i)abc", "(?i)ABC", "(?i)[a-c]+", "(?i)[^a]+", "(?i)k", "(?iu)k", "(?iu)[k]", "(?i)\\u00e9", "(?iu)\\u00e9", "(?i:A)b", "a(?i)B", "(a(?i)b)c",
    "(?i)\\p{Lower}+", "(?i)\\p{Lu}+", "(?-i)a", "(?i)a(?-i)B", "(?i)[A-C&&[B]]+", "(?iu)[a-c]+", "(?i)\\x41", "(?i)error",
    "(?x) a b ", "(?x)a # comment\n b", "(?x)[a b]+", "(?x)a\\ b", "(?x)a\\#", "(?x) a {2} ", "(?x)\\# x",
    "(a)(b)", "(a)|(b)", "((a)b)", "(a)?b", "(?:a)b", "(?<first>a)(?<second>b)", "(?<n>a)\\k<n>", "(a)\\1", "(ab)\\1", "(a)(b)\\2\\1", "(.)\\1", "(a)\\11",
    "(?=b)", "a(?=b)", "a(?!b)", "(?<=a)b", "(?<!a)b", "(?<=a|bb)b", "(?<=a{1,2})b", "(?<=\\s)\\w+", "(?=(a+))a", "(?!a).",
    "\\t", "\\n", "\\r", "\\f", "\\a", "\\e", "\\x41", "\\x{41}", "\\u0041", "\\u4e2d", "\\x{1F41E}", "\\uD83D\\uDC1E", "\\0101", "\\07", "\\011", "\\cI", "\\cA",
    "\\.", "\\*", "\\<", "\\>", "\\/", "\\-", "\\_", "\\ ", "\\#", "\\&", "\\~", "\\'", "\\\"", "\\@", "\\=", "\\:", "\\,", "\\;", "\\%", "\\!", "\\`", "<<", ">>",
    "\\Qa.b*c\\E", "\\Q(paren)", "\\Qab\\E+", "[\\Q.*\\E]", "\\Q\\E", "a\\Q\\Eb", "\\\\", "\\\\i", "]", "}", "[{}]", "\\{brace\\}", "{", "a{", "a{b}", "a{,3}", "x{2", "a{2}{2}",
    "*", "+a", "?", "a**", "a*{2}", "(", ")", "(a", "a)", "[a", "[", "[]", "[z-a]", "[a-\\d]", "\\", "\\y", "\\G", "\\X", "\\N{LATIN SMALL LETTER A}", "(?U)\\w", "(?z)a", "(?", "(?<a", "(?<1>a)",
    "\\k<x>", "\\1", "(\\1)", "\\p{Nope}", "\\p{IsNope}", "\\p{InGreek}", "\\p{", "\\u12", "\\xZ", "\\x{110000}", "\\c", "\\0", "\\08", "(?<n>a)(?<n>b)", "\\ud83d", "[a&&]", "[&&a]", "a{2,1}", "a{99999999999}",
    "^(\\d{4})-(\\d\\d)-(\\d\\d) (\\S+)", "(\\d+):(\\d+):(\\d+)", "^<(\\d+)>(.*)$", "\\s*,\\s*", "\\s*[,;]\\s*", "(\\w+)=(\\w+)", "^(?:\\n)?(\\d\\d\\d\\d-\\d\\d-\\d\\d\\s\\d\\d:\\d\\d)", "ERROR|WARN",
    "^((?!ERROR).)*$", "^(?=.*ERROR)(?=.*boom).*$", "(\\d{1,3})\\.(\\d{1,3})\\.(\\d{1,3})\\.(\\d{1,3})", "([^@]+)@([^@]+)", "^.*\\.log(\\.\\d+)?$", ".*log.*", "(?i).*\\berror\\b.*", "^[A-Za-z0-9+_.-]+@(.+)$",
    "(a+)+$", "([ab]+)*c", "(?:a|b|ab)*c", "(a*)*", "(a*)+", "(|a)+", "(a|)b", "|a", "a|", "(?:)", "()", "(a)*", "(a|b)*", "((a)|(b))*", "^*", "$?", "(?=a)*", "\\b?",
    "[\\u4e00-\\u9fa5]+", "[\u4e2d\u6587]+", "\u00e9", "[^\\x00-\\x7F]+", "[\\t ]+", "[\\n\\r]+", "[\\h]+", "[^\\h]+", "[\\v]", "[\\R]", "[\\b]", "[\\1]", "[\\Z]", "[\\cI]", "[\\0101-\\0103]+", "[\\e]", "[a-c-e]+", "[a-c&&b-d]+", "[^&&a]", "[a&&b&&c]", "[[a]]", "[[^a]]", "[a[^b]]+", "[^[^a]]+", "[a^]", "[\\^a]"
  };

  static final String[][] REPLACEMENTS = {
    {"a", "x"}, {"a*", "x"}, {"", "-"}, {"(a)(b)", "$2$1"}, {"(a)(b)", "$0!"}, {"(a)|(b)", "<$1$2>"}, {"a", "\\$"}, {"a", "\\\\"}, {"a", "$"}, {"a", "\\"}, {"a", "$1"},
    {"(a)", "$12"}, {"(a)", "$01"}, {"(a)", "$2"}, {"(?<n>a)", "${n}${n}"}, {"(?<n>a)", "${m}"}, {"(?<n>a)", "${n"}, {"(a)", "${1}"}, {"\\s+", " "}, {"[^\\x20-\\x7E]", "?"}, {"(\\d+)", "[$1]"}, {"$", "!"}, {"^", "> "}, {"(?m)^", "> "}, {"\\d", "#"},
    {"(\\d+)-(\\d+)", "$2/$1"}, {"\\\\", "/"}, {"", ""}, {"a|b|c", ""}, {"(a)?b", "[$1]"}
  };

  static int bytes(String text, int end) {
    return text.substring(0, end).getBytes(StandardCharsets.UTF_8).length;
  }

  static String range(String text, int start, int end) {
    return start < 0 ? "" : bytes(text, start) + "-" + bytes(text, end);
  }

  static String quoted(String text) {
    StringBuilder out = new StringBuilder("\"");
    for (char c : text.toCharArray()) {
      if (c == '"' || c == '\\') {
        out.append('\\').append(c);
      } else if (c < 0x20 || c > 0x7E) {
        out.append(String.format("\\u%04x", (int) c));
      } else {
        out.append(c);
      }
    }
    return out.append('"').toString();
  }

  static String answer(Pattern pattern, String text) {
    StringBuilder out = new StringBuilder();
    List<String> groups = new ArrayList<>();
    Matcher matcher = pattern.matcher(text);
    for (boolean first = true; matcher.find(); first = false) {
      out.append(first ? "" : " ").append(range(text, matcher.start(), matcher.end()));
      for (int group = 1; first && group <= matcher.groupCount(); group++) {
        groups.add(range(text, matcher.start(group), matcher.end(group)));
      }
    }
    if (!groups.isEmpty()) {
      out.append('|').append(String.join(",", groups));
    }
    return out.append(pattern.matcher(text).matches() ? "M" : "").toString();
  }

  public static void main(String[] args) {
    List<String> texts = new ArrayList<>();
    for (String text : TEXTS) {
      texts.add(quoted(text));
    }
    System.out.println("{\"texts\":[" + String.join(",", texts) + "]}");
    for (String source : PATTERNS) {
      List<String> answers = new ArrayList<>();
      try {
        Pattern pattern = Pattern.compile(source);
        for (String text : TEXTS) {
          answers.add(quoted(answer(pattern, text)));
        }
        System.out.println("{\"pattern\":" + quoted(source) + ",\"answers\":[" + String.join(",", answers) + "]}");
      } catch (PatternSyntaxException error) {
        System.out.println("{\"pattern\":" + quoted(source) + ",\"error\":true}");
      }
    }
    for (String[] pair : REPLACEMENTS) {
      Pattern pattern = Pattern.compile(pair[0]);
      List<String> answers = new ArrayList<>();
      String head = "{\"pattern\":" + quoted(pair[0]) + ",\"replacement\":" + quoted(pair[1]);
      try {
        for (String text : TEXTS) {
          answers.add(quoted(pattern.matcher(text).replaceAll(pair[1])));
        }
        System.out.println(head + ",\"replaced\":[" + String.join(",", answers) + "]}");
      } catch (RuntimeException error) {
        System.out.println(head + ",\"error\":true}");
      }
    }
    for (String source : new String[] {"\\s*,\\s*", ",", "", "a", "\\s+", "\\|", ";"}) {
      List<String> answers = new ArrayList<>();
      for (String text : TEXTS) {
        List<String> parts = new ArrayList<>();
        for (String part : text.split(source)) {
          parts.add(quoted(part));
        }
        answers.add("[" + String.join(",", parts) + "]");
      }
      System.out.println("{\"pattern\":" + quoted(source) + ",\"parts\":[" + String.join(",", answers) + "]}");
    }
  }
}
