// words.js: everything the page says, in English and in Korean.

const en = {
  title: 'Circuit breakers',
  language: '한국어',
  empty: 'The gateway has no breaker.',
  lost: 'The gateway does not answer. What you see is what it said last.',
  summary: (closed, other) => `${closed} closed, ${other} not`,
  closed: 'closed',
  open: 'open',
  half_open: 'half-open',
  ramp: 'coming back',
  forced_open: 'forced open',
  forced_closed: 'forced closed',
  shadow: 'shadow',
  became: (name, state) => `${name} is ${state} now`,
  none: '',
  forced: 'by order',
  consecutive: 'too many failures in a row',
  failure_rate: 'too many calls failed',
  slow_rate: 'too many calls were slow',
  probes_failed: 'the probes failed',
  probes_ok: 'the probes succeeded',
  retry: 'the open time was over',
  ramped: 'all calls pass again',
  reset: 'reset by order',
  retry_in: seconds => `tries again in ${seconds} s`,
  retry_now: 'tries again with the next call',
  share: percent => `${percent} % of the calls pass`,
  probing: (out, ok) => `${out} probes under way, ${ok} succeeded`,
  failures: 'Failures',
  slow: 'Slow calls',
  in_row: 'In a row',
  in_flight: 'Under way',
  streams: 'Open feeds',
  fallbacks: 'Fallbacks under way',
  of_least: (count, least) => `${count} of ${least} calls`,
  passed: 'passed',
  failed: 'failed',
  refused: 'refused',
  per_second: peak => `calls a second, the last minute; peak ${peak}`,
  history: count => `History (${count})`,
  no_history: 'It has never changed.',
  ago: seconds => (seconds < 90 ? `${seconds} s ago` : seconds < 5400 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3600)} h ago`),
  order_open: 'Force open',
  order_close: 'Force closed',
  order_auto: 'Automatic',
  order_reset: 'Reset',
  ask_open: name => `Force ${name} open?`,
  ask_close: name => `Force ${name} closed?`,
  ask_auto: name => `Let ${name} decide by itself again?`,
  ask_reset: name => `Reset ${name}?`,
  means_open: 'Every call is refused, or answered by a fallback, until someone says otherwise.',
  means_close: 'Every call passes, however the service fares. Nothing is judged.',
  means_auto: 'It goes on from here with its own rules; after a forced open it probes first.',
  means_reset: 'It closes, and forgets its window and its trips.',
  yes: 'Do it',
  no: 'Cancel',
  denied: 'The gateway did not take the order.',
};

const ko = {
  title: '서킷 브레이커',
  language: 'English',
  empty: '게이트웨이에 브레이커가 없습니다.',
  lost: '게이트웨이가 응답하지 않습니다. 마지막으로 받은 상태를 표시하고 있습니다.',
  summary: (closed, other) => `닫힘 ${closed}개, 그 외 ${other}개`,
  closed: '닫힘',
  open: '열림',
  half_open: '반열림',
  ramp: '복귀 중',
  forced_open: '강제 열림',
  forced_closed: '강제 닫힘',
  shadow: '관찰 전용',
  became: (name, state) => `${name}: 이제 ${state}`,
  none: '',
  forced: '운영자 지시',
  consecutive: '연속 실패가 너무 많음',
  failure_rate: '실패한 호출이 너무 많음',
  slow_rate: '느린 호출이 너무 많음',
  probes_failed: '시험 호출 실패',
  probes_ok: '시험 호출 성공',
  retry: '열림 시간이 끝남',
  ramped: '모든 호출이 다시 통과함',
  reset: '지시에 따라 초기화',
  retry_in: seconds => `${seconds}초 뒤 다시 시도`,
  retry_now: '다음 호출에서 다시 시도',
  share: percent => `호출의 ${percent}%가 통과`,
  probing: (out, ok) => `시험 호출 ${out}건 진행 중, ${ok}건 성공`,
  failures: '실패',
  slow: '느린 호출',
  in_row: '연속 실패',
  in_flight: '진행 중',
  streams: '열린 피드',
  fallbacks: '진행 중인 대체 응답',
  of_least: (count, least) => `호출 ${least}건 중 ${count}건`,
  passed: '통과',
  failed: '실패',
  refused: '거부',
  per_second: peak => `최근 1분, 초당 호출 수; 최대 ${peak}`,
  history: count => `이력 (${count})`,
  no_history: '상태가 바뀐 적이 없습니다.',
  ago: seconds => (seconds < 90 ? `${seconds}초 전` : seconds < 5400 ? `${Math.round(seconds / 60)}분 전` : `${Math.round(seconds / 3600)}시간 전`),
  order_open: '강제로 열기',
  order_close: '강제로 닫기',
  order_auto: '자동',
  order_reset: '초기화',
  ask_open: name => `${name}을(를) 강제로 열까요?`,
  ask_close: name => `${name}을(를) 강제로 닫을까요?`,
  ask_auto: name => `${name}을(를) 다시 자동으로 둘까요?`,
  ask_reset: name => `${name}을(를) 초기화할까요?`,
  means_open: '다른 지시가 있을 때까지 모든 호출을 거부하거나 대체 응답으로 처리합니다.',
  means_close: '서비스 상태와 상관없이 모든 호출이 통과하고, 판정하지 않습니다.',
  means_auto: '지금부터 자체 규칙으로 동작합니다. 강제 열림 뒤에는 먼저 시험 호출을 보냅니다.',
  means_reset: '닫히고, 집계 구간과 차단 횟수를 잊습니다.',
  yes: '실행',
  no: '취소',
  denied: '게이트웨이가 지시를 받아들이지 않았습니다.',
};

const all = {en, ko};
let current = navigator.language?.startsWith('ko') ? 'ko' : 'en';
try {
  current = localStorage.getItem('breakers.language') ?? current;
} catch {
  // without storage the browser's language counts
}

export const language = () => current;

export function toggleLanguage() {
  current = current === 'ko' ? 'en' : 'ko';
  try {
    localStorage.setItem('breakers.language', current);
  } catch {
    // it lasts as long as the page
  }
}

export function t(key, ...values) {
  const word = all[current][key] ?? key;
  return typeof word === 'function' ? word(...values) : word;
}
